#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

namespace graft::pipelines {

/// A tensor that training must not change.
struct FrozenTensor {
  std::string name;
  at::Tensor tensor;
  std::function<void()> let_go = {};  ///< for whoever has read it: gives back memory that nobody else reads; may be empty
};

}  // namespace graft::pipelines
