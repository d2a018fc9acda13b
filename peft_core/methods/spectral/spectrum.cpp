#include "peft_core/methods/spectral/spectrum.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <numbers>

#include "peft_core/memory/move_in_place.h"

namespace graft::peft {
namespace {

/// Rows of cos and sin(2π f k / period), k = 0..period-1: (n, period) each, fp32. f k is reduced before it becomes an angle.
std::pair<at::Tensor, at::Tensor> waves(const at::Tensor& frequencies, int64_t period) {
  const auto turns = at::outer(frequencies, at::arange(period, at::kLong)).remainder_(period);
  const auto angles = turns.to(at::kDouble).mul_(2 * std::numbers::pi / static_cast<double>(period));
  return {angles.cos().to(at::kFloat), angles.sin().to(at::kFloat)};
}

}  // namespace

Spectrum::Spectrum(int64_t out, int64_t in, int64_t n, int64_t seed) : out_(out), in_(in) {
  const auto drawn = at::randperm(out * in, at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed)), at::kLong).slice(0, 0, n);
  u_ = drawn.div(in, "floor"), v_ = drawn.remainder(in);

  // A real D needs a spectrum whose mirror image is its conjugate: half of c_k at (u, v), half at (−u, −v); only columns up to in / 2 are kept.
  const int64_t half = in / 2 + 1;
  const auto rows = at::cat({u_, (out - u_).remainder(out)}), columns = at::cat({v_, (in - v_).remainder(in)});
  const auto kept = columns.lt(half).nonzero().squeeze(1);
  places_ = (rows * half + columns).index_select(0, kept);
  owners_ = kept.remainder(n);

  if (2 * n * (in + out) >= in * out) return;
  const auto [cos_in, sin_in] = waves(v_, in);
  const auto [cos_out, sin_out] = waves(u_, out);
  down_ = at::cat({cos_in, sin_in});
  up_ = at::cat({cos_out, -sin_out}).t().contiguous().div_(static_cast<double>(out * in));
}

void Spectrum::move_to(at::Device device) const {
  for (const auto& constant : {places_, owners_, u_, v_, down_, up_}) move_in_place(constant, device);
}

at::Tensor Spectrum::update(const at::Tensor& c) const {
  const int64_t half = in_ / 2 + 1;
  const auto spectrum = at::zeros({out_ * half}, c.options().requires_grad(false)).index_add(0, places_, c.index_select(0, owners_), 0.5);
  return at::fft_irfft2(spectrum.view({out_, half}).to(at::kComplexFloat), at::IntArrayRef{out_, in_});
}

at::Tensor Spectrum::apply(const at::Tensor& x, const at::Tensor& c) const {
  const auto waves_of_x = at::fft_fft(x.to(at::kFloat)).index_select(1, v_).conj();  // Σ_i x_i exp(2πi v_k i / in), (N, n)
  const auto sums = at::zeros({x.size(0), out_}, waves_of_x.options().requires_grad(false)).index_add(1, u_, waves_of_x * c);
  return at::real(at::fft_ifft(sums)).div(static_cast<double>(in_));
}

at::Tensor Spectrum::up(const at::Tensor& c) const { return up_ * at::cat({c, c}); }

}  // namespace graft::peft
