#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "peft_core/slots/frozen_linear.h"

namespace graft::peft {

/// One adapted product: y = x Wᵀ + bias + scale · drop(x) Aᵀ Bᵀ.
///
/// Shapes   x (N, in); a (r, in), b (out, r) fp32; bias (out) or undefined; y (N, out) in x's dtype.
/// Gradient exact for x, a, b and bias, as far as they require one (a frozen factor costs no gradient product); none for W. Keeps x (kernels/ops/kept_input.h) and the thin product x Aᵀ.
/// Dropout  with probability p on x, in the low-rank branch only; the mask is drawn from `seed` and drawn again in the backward pass.
at::Tensor low_rank_linear(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b, double scale,
                           const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias, double dropout = 0,
                           uint64_t seed = 0);

/// The same where rows have different updates, or none: y = x Wᵀ + bias + (x Aᵀ ⊙ row_factors) Bᵀ, with the factors of all updates in A and B.
/// Shapes   row_factors (N, r) in x's dtype, not trained.
at::Tensor low_rank_linear_by_rows(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b, const at::Tensor& row_factors,
                                   const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias);

}  // namespace graft::peft
