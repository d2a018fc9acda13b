#include "pipelines/cloud/losses.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "pipelines/cloud/view_choice.h"

namespace graft::pipelines {
namespace {

constexpr int kLastRounds = 40;  // at the smallest blur: the potentials of batches of some dozen points stand still by then

/// Distances with nothing rounded away: equal points are at distance exactly 0, and there the gradient is 0.
at::Tensor distances(const at::Tensor& x, const at::Tensor& y) { return at::cdist(x, y, 2.0, /*compute_mode=*/2); }

/// -blur log mean_j exp((potential_j - cost_ij) / blur): (n, m), (m) -> (n).
at::Tensor soft_minimum(const at::Tensor& cost, const at::Tensor& potential, double blur) {
  const double points = static_cast<double>(cost.size(1));
  return -blur * (at::logsumexp((potential - cost) / blur, 1) - std::log(points));
}

/// From the clouds' extent down to `blur`, each half of the one before.
std::vector<double> blurs(const at::Tensor& cost, double blur) {
  std::vector<double> steps;
  for (double b = cost.max().item<double>(); b > blur; b /= 2) steps.push_back(b);
  steps.insert(steps.end(), kLastRounds, blur);
  return steps;
}

struct Potentials {
  at::Tensor first, second;
};

/// Averaged symmetric updates, from a wide blur to a narrow one; no gradient.
Potentials potentials(const at::Tensor& cost, double blur) {
  const at::NoGradGuard no_gradient;
  const auto other = cost.t().contiguous();
  Potentials p{at::zeros({cost.size(0)}, cost.options()), at::zeros({cost.size(1)}, cost.options())};
  for (const double b : blurs(cost, blur)) {
    const auto first = soft_minimum(cost, p.second, b), second = soft_minimum(other, p.first, b);
    p = {(p.first + first) / 2, (p.second + second) / 2};
  }
  return p;
}

/// Potential of x against its own cloud; the gradient goes through its first argument only, which is that of half OT(x, x).
at::Tensor own_potential(const at::Tensor& x, double blur) {
  const auto fixed = x.detach();
  const auto p = potentials(distances(fixed, fixed), blur);
  return soft_minimum(distances(x, fixed), p.second, blur);
}

}  // namespace

at::Tensor confidence_loss(const at::Tensor& logits, const at::Tensor& kept) {
  const auto log_mean = log_mean_probability(logits, kept);
  return -(log_mean.exp() * log_mean).sum(-1).mean();
}

at::Tensor orthogonality_loss(const at::Tensor& transforms) {
  const auto identity = at::eye(transforms.size(-1), transforms.options());
  return (at::matmul(transforms, transforms.transpose(-1, -2)) - identity).flatten(1).norm(2, {1}).mean();
}

at::Tensor entropy_loss(const at::Tensor& logits) { return entropy_of(logits).mean(); }

at::Tensor transport_loss(const at::Tensor& x, const at::Tensor& y, double blur) {
  const auto x_fixed = x.detach(), y_fixed = y.detach();
  const auto p = potentials(distances(x_fixed, y_fixed), blur);
  // At the optimum the potentials' own change has no effect on the value, so the gradient needs the last update only.
  const auto first = soft_minimum(distances(x, y_fixed), p.second, blur);
  const auto second = soft_minimum(distances(y, x_fixed), p.first, blur);
  return (first - own_potential(x, blur)).mean() + (second - own_potential(y, blur)).mean();
}

}  // namespace graft::pipelines
