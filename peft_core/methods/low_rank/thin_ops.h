#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "peft_core/slots/frozen_linear.h"

// The two halves of a low-rank product as operators of their own, for methods that do something to the thin latent between them.
namespace graft::peft {

/// z = x aᵀ.
/// Shapes   x (N, in); a (r, in) fp32; z (N, r) in x's dtype.
/// Gradient exact. Keeps x (kernels/ops/kept_input.h).
at::Tensor thin_product(const at::Tensor& x, const at::Tensor& a);

/// y = x Wᵀ + bias + scale · z bᵀ, one pass over y.
/// Shapes   x (N, in); z (N, r) in x's dtype; b (out, r) fp32; bias (out) or undefined; y (N, out) in x's dtype.
/// Gradient exact for x, z, b and bias; none for W. Keeps z, not x.
at::Tensor latent_linear(const at::Tensor& x, const at::Tensor& z, const at::Tensor& b, double scale,
                         const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias);

}  // namespace graft::peft
