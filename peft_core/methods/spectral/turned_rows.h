#pragma once

#include <ATen/core/Tensor.h>

namespace graft::peft {

/// Re(F^a x) above Im(F^a x) for real x: fractional_fourier for factors, with fewer passes over memory and a gradient of its own, which makes the
/// transform's inner steps again and keeps nothing complex. F^{−a} x is the conjugate of F^a x, so that this serves both sides of an update.
///
/// Shapes   x (E, r, d), d even; order (E); result (E, 2 r, d), Re in the first r rows of each expert; all real, of x's precision.
/// Gradient exact for x and order.
at::Tensor turned_rows(const at::Tensor& x, const at::Tensor& order);

}  // namespace graft::peft
