// Times of kernels/sinkhorn, value and gradient for x, beside the same steps written with LibTorch's operators in fp32, in turns: medians in ms
// and the median of the ratios of neighbours, with its smallest and largest. Random distributions over 5 classes and random features of width 128.
// Argument: seconds a case (default 1). Ends with 4 where the two sides' results differ. Lines of columns parted by tabs, from which
// bench/sinkhorn/compare_torch.py makes a table.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/kernels/exponential_ceiling.h"
#include "bench/machine/timing.h"
#include "kernels/ops/sinkhorn_op.h"
#include "kernels/sinkhorn/problem.h"

namespace graft::bench {
namespace {

constexpr double kBlur = 0.05;

at::Tensor distances(const at::Tensor& x, const at::Tensor& y) { return at::cdist(x, y); }

at::Tensor soft_minimum(const at::Tensor& cost, const at::Tensor& potential, double epsilon) {
  return at::logsumexp((potential - cost) * (1 / epsilon) - std::log(static_cast<double>(cost.size(1))), 1) * -epsilon;
}

struct Potentials {
  at::Tensor f, g, a, b;
};

Potentials annealed(const at::Tensor& x, const at::Tensor& y) {
  const at::NoGradGuard guard;
  const auto all = at::cat({x, y});
  const double diameter = (std::get<0>(all.max(0)) - std::get<0>(all.min(0))).norm().item<double>();
  const auto xy = distances(x, y), yx = xy.t().contiguous(), xx = distances(x, x), yy = distances(y, y);
  const auto none_x = at::zeros(x.size(0)), none_y = at::zeros(y.size(0));
  Potentials now{soft_minimum(xy, none_y, diameter), soft_minimum(yx, none_x, diameter), soft_minimum(xx, none_x, diameter),
                 soft_minimum(yy, none_y, diameter)};
  std::vector<double> scales{diameter};
  for (double scale = diameter; scale > kBlur; scale /= 2) scales.push_back(scale);
  scales.push_back(kBlur);
  for (const double epsilon : scales) {
    const auto f = soft_minimum(xy, now.g, epsilon), g = soft_minimum(yx, now.f, epsilon);
    now = {(now.f + f) * 0.5, (now.g + g) * 0.5, (now.a + soft_minimum(xx, now.a, epsilon)) * 0.5, (now.b + soft_minimum(yy, now.b, epsilon)) * 0.5};
  }
  return now;
}

/// y is a constant, so the gradient comes from the potentials on x alone.
at::Tensor with_libtorch(const at::Tensor& x, const at::Tensor& y) {
  const auto fixed = x.detach();
  const auto now = annealed(fixed, y);
  const auto on_x = soft_minimum(distances(x, y), now.g, kBlur) - soft_minimum(distances(x, fixed), now.a, kBlur);
  const auto on_y = soft_minimum(distances(y, fixed), now.f, kBlur) - soft_minimum(distances(y, y), now.b, kBlur);
  return on_x.mean() + on_y.mean();
}

using Divergence = at::Tensor (*)(const at::Tensor&, const at::Tensor&);

at::Tensor ours(const at::Tensor& x, const at::Tensor& y) { return ops::sinkhorn_divergence(x, y, kBlur); }

at::Tensor gradient_of(Divergence divergence, const at::Tensor& x, const at::Tensor& y) {
  const auto leaf = x.detach().requires_grad_();
  return torch::autograd::grad({divergence(leaf, y)}, {leaf})[0];
}

double difference(const at::Tensor& a, const at::Tensor& b) { return ((a - b).abs().max() / b.abs().max()).item<double>(); }

/// Exponentials that a value with its gradient for x cannot do without: one for each entry of the four matrices of costs and each update of the
/// potentials, and two for each entry of the two matrices that pull at x (the plan, and the sum that it is divided by).
double exponentials(const at::Tensor& x, const at::Tensor& y) {
  const auto n = static_cast<double>(x.size(0)), m = static_cast<double>(y.size(0));
  const kernels::TwoBatches<float> batches{x.const_data_ptr<float>(), x.size(0), y.const_data_ptr<float>(), y.size(0), x.size(1)};
  const auto averaged = kernels::detail::epsilons(kernels::detail::diameter_of(batches), {.blur = kBlur}).size();
  return static_cast<double>(averaged + 2) * (n + m) * (n + m) + 2 * n * (n + m);
}

/// Prints a line; false where the two sides' results differ.
bool measure(const char* what, const at::Tensor& x, const at::Tensor& y, double seconds, double ceiling) {
  const double apart = std::max(difference(ours(x, y), with_libtorch(x, y)), difference(gradient_of(ours, x, y), gradient_of(with_libtorch, x, y)));
  const auto turns = in_turns({[&] { gradient_of(ours, x, y); }}, {[&] { gradient_of(with_libtorch, x, y); }}, {seconds, 5});
  const double share = exponentials(x, y) / turns.ours.median / ceiling;
  std::printf("%s\t%ld\t%ld\t%.4f\t%.4f\t%.1f\t%.1f\t%.1f\t%d\t%.2f\t%.1e\n", what, static_cast<long>(x.size(0)), static_cast<long>(x.size(1)),
              turns.ours.median * 1e3, turns.theirs.median * 1e3, turns.ratio.median, turns.ratio.smallest, turns.ratio.largest, turns.rounds, share, apart);
  return apart < 1e-3;  // LibTorch's potentials are fp32, divided by a blur of 0.05
}

bool measure_all(double seconds) {
  at::manual_seed(7);
  const double ceiling = exponentials_per_second();
  std::printf("# threads\t%d\texponentials a second and core\t%.3e\n", at::get_num_threads(), ceiling);
  std::printf("points of\tpoints\twidth\tours_ms\tlibtorch_ms\tratio\tsmallest\tlargest\trounds\tcores_of_exponentials\tfurthest_apart\n");
  bool good = true;
  for (const int64_t n : {16, 32, 64, 128, 256}) {
    good &= measure("probabilities", at::randn({n, 5}).mul_(2).softmax(-1), at::randn({n, 5}).softmax(-1), seconds, ceiling);
    const double length = 1 / std::sqrt(128.0);
    good &= measure("features", at::randn({n, 128}) * length, at::randn({n, 128}) * length + length / 2, seconds, ceiling);
  }
  return good;
}

}  // namespace
}  // namespace graft::bench

int main(int argc, char** argv) { return graft::bench::measure_all(argc > 1 ? std::atof(argv[1]) : 1.0) ? 0 : 4; }
