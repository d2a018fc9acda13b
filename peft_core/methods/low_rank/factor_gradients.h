#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace graft::peft {

struct FactorGradientOptions {
  double scale = 1, dropout = 0;
  uint64_t seed = 0;
  at::Tensor channel_gain;  ///< (out) fp32, or undefined: 1
  at::Tensor token_gain;    ///< (N, out) in y's dtype, or undefined: 1
};

/// y itself, with other gradients for the factors of the low-rank product in it: those of the gradient g ⊙ gain instead of g.
/// Shapes   y (N, out), x (N, in), a (r, in), b (out, r); y = ... + scale · drop(x) aᵀ bᵀ made from the detached factors.
/// Gradient y's goes on unchanged; a and b get theirs from the gain; x none here. A gain of channels costs nothing: it is folded into b.
at::Tensor with_factor_gradients(const at::Tensor& y, const at::Tensor& x, const at::Tensor& a, const at::Tensor& b,
                                 const FactorGradientOptions& options);

}  // namespace graft::peft
