#include "peft_core/methods/spectral/turned_rows.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <numbers>

#include "kernels/base/error.h"
#include "kernels/ops/apply.h"

namespace graft::peft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr double kPi = std::numbers::pi;

/// The three shears of F^a (fractional_fourier.h) for indices in the order of the DFT, 0, 1, .. −2, −1, so that nothing is moved between them.
struct Shears {
  Shears(const at::Tensor& order, int64_t d, at::ScalarType type) : a(order.detach().to(at::kDouble).view({-1, 1, 1})) {
    const auto half = at::arange(d / 2 + 1, a.options()).square().mul_(-kPi / static_cast<double>(d));
    const auto shear = [&](const at::Tensor& rate) { return mirrored(on_circle(rate * half).to(at::toComplexType(type))); };
    squares = mirrored(half);
    time = shear(tangent());
    frequency = shear(at::sin(a * (kPi / 2)));
    last = on_circle(a * (kPi / 4)).to(time.scalar_type()) * time;
  }

  static at::Tensor on_circle(const at::Tensor& phase) { return at::polar(at::ones_like(phase), phase); }
  /// Of values for |n| = 0 .. d / 2 those for all n: sines and cosines in fp64 are dear.
  static at::Tensor mirrored(const at::Tensor& x) { return at::cat({x, x.narrow(-1, 1, x.size(-1) - 2).flip({-1})}, -1); }

  at::Tensor tangent() const { return at::tan(a * (kPi / 4)); }
  /// x up to the inverse transform, which is left to do.
  at::Tensor middle(const at::Tensor& x) const { return at::fft_fft(time * x).mul_(frequency); }

  at::Tensor a;                      // (E, 1, 1) fp64
  at::Tensor squares;                // (d) fp64: −π n² / d
  at::Tensor time, frequency, last;  // (E, 1, d) complex; the last holds e^{iπa/4} too
};

/// From centred order to the DFT's and back, which are the same for even d.
at::Tensor halves_swapped(const at::Tensor& x) { return at::roll(x, x.size(-1) / 2, -1); }

/// Writes one half of a row of `from`, (E, r, d), into the other half of `to`.
void copy_swapped(const at::Tensor& to, const at::Tensor& from) {
  const int64_t half = from.size(2) / 2;
  to.narrow(2, half, half).copy_(from.narrow(2, 0, half));
  to.narrow(2, 0, half).copy_(from.narrow(2, half, half));
}

/// Σ over rows of Im(conj(u) v), (E, d) fp64.
at::Tensor turn_of(const at::Tensor& u_real, const at::Tensor& u_imaginary, const at::Tensor& v_real, const at::Tensor& v_imaginary) {
  return (u_real * v_imaginary).sub_(u_imaginary * v_real).sum({1}, /*keepdim=*/false, at::kDouble);
}

at::Tensor turn_of(const at::Tensor& u, const at::Tensor& v) { return turn_of(at::real(u), at::imag(u), at::real(v), at::imag(v)); }

struct TurnedRows : public torch::autograd::Function<TurnedRows> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& order) {
    const int64_t rows = x.size(1), d = x.size(2);
    const Shears shears(order, d, x.scalar_type());
    const auto y = at::fft_ifft(shears.middle(halves_swapped(x))).mul_(shears.last);
    const auto parts = at::empty({x.size(0), 2 * rows, d}, x.options().requires_grad(false));
    copy_swapped(parts.narrow(1, 0, rows), at::real(y));
    copy_swapped(parts.narrow(1, rows, rows), at::imag(y));
    ctx->save_for_backward({x, order, parts});
    return parts;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &order = saved[1], &y = saved[2], &g = gradients[0];
    const int64_t rows = x.size(1), d = x.size(2);
    const Shears shears(order, d, x.scalar_type());
    const auto swapped = halves_swapped(x);

    // Each step's adjoint: of the inverse DFT, the DFT over d; of a multiplication on the circle, the conjugate one.
    auto wave = at::empty({x.size(0), rows, d}, shears.time.options());
    copy_swapped(at::real(wave), g.narrow(1, 0, rows));
    copy_swapped(at::imag(wave), g.narrow(1, rows, rows));
    wave = at::fft_fft(wave.mul_(shears.last.conj()));
    at::Tensor in_frequency;
    if (ctx->needs_input_grad(1)) in_frequency = turn_of(wave, shears.middle(swapped)).div_(static_cast<double>(d));
    wave = at::fft_ifft(wave.mul_(shears.frequency.conj())).mul_(shears.time.conj());

    at::Tensor dx, dorder;
    if (ctx->needs_input_grad(0)) dx = halves_swapped(at::real(wave));
    if (ctx->needs_input_grad(1)) {
      const auto at_end = halves_swapped(turn_of(g.narrow(1, 0, rows), g.narrow(1, rows, rows), y.narrow(1, 0, rows), y.narrow(1, rows, rows)));
      const auto at_start = (at::imag(wave) * swapped).sum({1}, /*keepdim=*/false, at::kDouble);
      const auto a = shears.a.view({-1});
      // d/da of e^{iπa/4}, of t = tan(πa/4) in both outer shears, and of q = sin(πa/2)
      dorder = at_end.sum({1}).mul_(-kPi / 4) +
               (at_start - at_end).mul_(shears.squares).sum({1}) * (shears.tangent().view({-1}).square() + 1) * (kPi / 4) -
               in_frequency.mul_(shears.squares).sum({1}) * at::cos(a * (kPi / 2)) * (kPi / 2);
      dorder = dorder.to(order.scalar_type());
    }
    return {dx, dorder};
  }
};

}  // namespace

at::Tensor turned_rows(const at::Tensor& x, const at::Tensor& order) {
  GRAFT_ASSERT(x.dim() == 3 && x.size(2) % 2 == 0 && order.dim() == 1 && order.size(0) == x.size(0));
  return ops::apply<TurnedRows>(x, order);
}

}  // namespace graft::peft
