#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace graft::ops {

/// Autograd takes an absent input as an empty optional, which has no place among the inputs that may need gradients.
inline std::optional<at::Tensor> if_defined(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

}  // namespace graft::ops
