#pragma once

#include <ATen/core/Tensor.h>

namespace graft::peft {

/// Fractional Fourier transform of order a along the last dimension: order 0 is the identity, order 1 the centred unitary DFT.
///   F^a = e^{iπa/4} D_t Uᴴ E_q U D_t,   D_t = diag e^{−iπ t n²/d},  E_q = diag e^{−iπ q k²/d},  t = tan(πa/4),  q = sin(πa/2)
/// with n, k = −d/2 .. d/2 − 1 and U the centred unitary DFT: three shears of the time-frequency plane, O(d log d).
///
/// Shapes   x (..., d) real or complex, d even (for odd d order 1 is not the DFT); order real, shape 1 or broadcast against x's leading
///          dimensions as (..., 1); result complex, of x's precision. |a| < 2.
/// Exact    unitary for every order: F^{−a} is the inverse and the conjugate transpose. The matrix is symmetric. Orders add on signals that are
///          small near the ends in time and frequency; on white noise they do not.
/// The plain form, which turned_rows.h is held against. Gradient exact for x and the order. Phases are computed in float64: they reach π d / 4.
at::Tensor fractional_fourier(const at::Tensor& x, const at::Tensor& order);

/// U x: the centred unitary DFT along the last dimension.
at::Tensor centred_dft(const at::Tensor& x);

}  // namespace graft::peft
