#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "peft_core/slots/frozen_linear.h"

namespace graft::peft {

/// y = x Wᵀ + bias + sums(drop(x)) shared, where sums(x)[n, j] = Σ_k x[n, k r + j], the last block filled up with zeros.
///
/// Shapes   x (N, in); shared (r, out) fp32, any strides; y (N, out) in x's dtype.
/// Gradient exact for x, shared and bias. Keeps the sums (N, r) and not x.
/// Dropout  with probability p on x, in the sums only; the mask is drawn from `seed` and drawn again in the backward pass.
at::Tensor block_sum_linear(const at::Tensor& x, const at::Tensor& shared, const std::shared_ptr<const FrozenLinear>& base,
                            const at::Tensor& bias, double dropout, uint64_t seed);

/// W B + B in blocks of r by r: for W (out, in) and B (out / r, r, r), -> (out, in).
at::Tensor block_update(const at::Tensor& weight, const at::Tensor& blocks);

/// x block_update(W, B)ᵀ, (N, in) -> (N, out). The update is made dense while it is multiplied with, and again in the backward pass.
at::Tensor block_update_product(const at::Tensor& x, const at::Tensor& blocks, const std::shared_ptr<const FrozenLinear>& base);

}  // namespace graft::peft
