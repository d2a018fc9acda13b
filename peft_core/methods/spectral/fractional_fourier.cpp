#include "peft_core/methods/spectral/fractional_fourier.h"

#include <ATen/ATen.h>

#include <numbers>

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

constexpr double kPi = std::numbers::pi;

at::Tensor centred_inverse_dft(const at::Tensor& x) {
  return at::fft_fftshift(at::fft_ifft(at::fft_ifftshift(x, {-1}), std::nullopt, -1, "ortho"), {-1});
}

/// e^{i phase}, from float64 rounded once.
at::Tensor on_circle(const at::Tensor& phase, at::ScalarType type) { return at::polar(at::ones_like(phase), phase).to(type); }

}  // namespace

at::Tensor centred_dft(const at::Tensor& x) {
  return at::fft_fftshift(at::fft_fft(at::fft_ifftshift(x, {-1}), std::nullopt, -1, "ortho"), {-1});
}

at::Tensor fractional_fourier(const at::Tensor& x, const at::Tensor& order) {
  const int64_t d = x.size(-1);
  GRAFT_ASSERT(d > 0 && d % 2 == 0);
  const auto type = at::toComplexType(x.scalar_type());
  const auto a = order.to(at::kDouble);
  const auto n = at::arange(-(d / 2), d / 2, at::kDouble), squares = n.square() * (-kPi / static_cast<double>(d));
  const auto time = on_circle(at::tan(a * (kPi / 4)) * squares, type), frequency = on_circle(at::sin(a * (kPi / 2)) * squares, type);
  return on_circle(a * (kPi / 4), type) * time * centred_inverse_dft(frequency * centred_dft(time * x));
}

}  // namespace graft::peft
