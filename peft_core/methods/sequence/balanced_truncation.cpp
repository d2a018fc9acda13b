#include "peft_core/methods/sequence/balanced_truncation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <limits>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"

namespace graft::peft {
namespace {

/// L with L L^T = w. By eigenvalues: Gramians of slow modes are singular to rounding, where Cholesky breaks down.
at::Tensor square_root(const at::Tensor& w) {
  const auto [values, vectors] = at::linalg_eigh((w + w.t()) / 2);
  return vectors * values.clamp_min(0).sqrt();
}

}  // namespace

Gramians gramians(const at::Tensor& diagonal, const at::Tensor& b, const at::Tensor& c) {
  const auto decay = 1 - at::outer(diagonal, diagonal);
  return {at::mm(b, b.t()) / decay, at::mm(c.t(), c) / decay};
}

ReducedSystem balanced_truncation(const at::Tensor& diagonal, const at::Tensor& b, const at::Tensor& c, double tolerance) {
  const at::NoGradGuard no_gradient;
  expect_range("tolerance", tolerance, 0, 1);
  const auto a = diagonal.to(at::kDouble), input = b.to(at::kDouble), output = c.to(at::kDouble);
  if (!a.abs().lt(1).all().item<bool>()) throw InvalidArgument({.where = "balanced truncation", .what = "the system is not stable", .expected = "|A| < 1"});
  const auto [wc, wo] = gramians(a, input, output);
  const auto lc = square_root(wc), lo = square_root(wo);
  const auto [u, s, vh] = at::linalg_svd(at::mm(lc.t(), lo), /*full_matrices=*/false);
  // Below the rounding of the largest a value is noise, and dividing by it would blow up.
  const double largest = s[0].item<double>(), noise = static_cast<double>(s.size(0)) * std::numeric_limits<double>::epsilon();
  const auto kept = std::max<int64_t>(1, s.ge(std::max(tolerance, noise) * largest).sum().item<int64_t>());
  const auto inverse_root = s.narrow(0, 0, kept).rsqrt();
  const auto to_balanced = inverse_root.unsqueeze(1) * at::mm(vh.narrow(0, 0, kept), lo.t());
  const auto from_balanced = at::mm(lc, u.narrow(1, 0, kept)) * inverse_root;
  return {{at::mm(to_balanced * a, from_balanced), at::mm(to_balanced, input), at::mm(output, from_balanced)},
          s,
          2 * s.narrow(0, kept, s.size(0) - kept).sum().item<double>()};
}

}  // namespace graft::peft
