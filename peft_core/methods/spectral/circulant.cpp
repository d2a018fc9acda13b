#include "peft_core/methods/spectral/circulant.h"

#include <ATen/ATen.h>

namespace graft::peft {

at::Tensor block_circulant(const at::Tensor& w) {
  const int64_t m = w.size(0), n = w.size(1), b = w.size(2);
  // Row k is w turned right by k places: the window of w w that begins at b − k.
  const auto windows = at::cat({w, w}, 2).unfold(2, b, 1).slice(2, 1).flip({2});  // (m, n, k, l)
  return windows.permute({0, 2, 1, 3}).reshape({m * b, n * b});
}

at::Tensor block_circular_product(const at::Tensor& x, const at::Tensor& w) {
  const int64_t m = w.size(0), n = w.size(1), b = w.size(2);
  const auto waves = at::fft_rfft(x.to(at::kFloat).view({x.size(0), n, b}));      // (N, n, F)
  const auto mixed = at::einsum("anf,mnf->amf", {waves, at::fft_rfft(w).conj()});  // conj: a correlation, not a convolution
  return at::fft_irfft(mixed, b).reshape({x.size(0), m * b});
}

}  // namespace graft::peft
