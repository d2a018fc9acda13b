#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace graft::peft {

/// A trainable fp32 leaf of these sizes, uniform in ±1/√(size of the second dimension): Kaiming's rule with a = √5, as PEFT calls it.
at::Tensor uniform_leaf(const std::vector<int64_t>& sizes, at::Generator& random);
/// A trainable fp32 leaf of zeros.
at::Tensor zero_leaf(const std::vector<int64_t>& sizes);

}  // namespace graft::peft
