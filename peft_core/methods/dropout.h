#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace graft::peft {

/// 0 with probability p, else 1 / (1 − p); undefined for p = 0. The same for the same seed, sizes and kind of device, so that a backward pass
/// can draw it again.
at::Tensor dropout_mask(at::IntArrayRef sizes, const at::TensorOptions& options, double p, uint64_t seed);

/// x times such a mask of its size; x itself for p = 0.
at::Tensor with_dropout(const at::Tensor& x, double p, uint64_t seed);

/// Throws InvalidArgument, naming method.`option`, outside [0, 1).
void expect_dropout(double p, const std::string& option = "dropout");

}  // namespace graft::peft
