#include "kernels/ops/sinkhorn_op.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/base/error.h"
#include "tests/support/gradcheck.h"

namespace graft::ops {
namespace {

using kernels::SinkhornOptions;
using testing::relative_error;
using testing::Tensors;

at::Tensor normal(at::IntArrayRef sizes, uint64_t seed) { return at::randn(sizes, at::make_generator<at::CPUGeneratorImpl>(seed), at::kFloat); }

/// Distributions over d classes, as the adaptation compares them.
at::Tensor distributions(int64_t count, int64_t classes, uint64_t seed) { return normal({count, classes}, seed).mul_(2).softmax(-1); }

at::Tensor costs(const at::Tensor& x, const at::Tensor& y, int power) {
  const auto squared = (x.unsqueeze(1) - y.unsqueeze(0)).square().sum(-1);
  if (power == 2) return squared / 2;
  return at::where(squared > 0, at::where(squared > 0, squared, 1).sqrt(), 0);  // a root whose slope at 0 is 0, not NaN
}

at::Tensor soft_minimum(const at::Tensor& cost, const at::Tensor& potential, double epsilon) {
  return (at::logsumexp((potential - cost) / epsilon, 1) - std::log(static_cast<double>(cost.size(1)))) * -epsilon;
}

/// The divergence in float64 with LibTorch's operators: potentials without a gradient, and a last update with one.
at::Tensor with_libtorch(const at::Tensor& x, const at::Tensor& y, const SinkhornOptions& options) {
  const auto fixed_x = x.detach(), fixed_y = y.detach();
  const auto extent = at::cat({fixed_x, fixed_y});
  const double diameter = (std::get<0>(extent.max(0)) - std::get<0>(extent.min(0))).norm().item<double>(), p = options.power;
  std::vector<double> scales{diameter};
  for (double scale = diameter; scale > options.blur; scale *= options.scaling) scales.push_back(scale);
  scales.insert(scales.end(), static_cast<size_t>(options.settling + 1), options.blur);
  const auto xy = costs(fixed_x, fixed_y, options.power), yx = xy.t(), xx = costs(fixed_x, fixed_x, options.power), yy = costs(fixed_y, fixed_y, options.power);
  at::Tensor f, g, a, b;
  const double first = std::pow(diameter, p), last = std::pow(options.blur, p);
  f = soft_minimum(xy, at::zeros(y.size(0), x.options()), first), g = soft_minimum(yx, at::zeros(x.size(0), x.options()), first);
  a = soft_minimum(xx, at::zeros(x.size(0), x.options()), first), b = soft_minimum(yy, at::zeros(y.size(0), x.options()), first);
  for (const double scale : scales) {
    const double epsilon = std::pow(scale, p);
    const auto new_f = soft_minimum(xy, g, epsilon), new_g = soft_minimum(yx, f, epsilon);
    f = (f + new_f) / 2, g = (g + new_g) / 2;
    a = (a + soft_minimum(xx, a, epsilon)) / 2, b = (b + soft_minimum(yy, b, epsilon)) / 2;
  }
  const auto on_x = soft_minimum(costs(x, fixed_y, options.power), g, last) - soft_minimum(costs(x, fixed_x, options.power), a, last);
  const auto on_y = soft_minimum(costs(y, fixed_x, options.power), f, last) - soft_minimum(costs(y, fixed_y, options.power), b, last);
  return on_x.mean() + on_y.mean();
}

// The kernel computes in double; value and gradient are rounded to fp32 once, 2^-25 of themselves, and inputs are the same. A gradient is the
// difference of two pulls that may be some 10 times larger.
constexpr double kTolerance = 1e-6;

TEST(SinkhornOp, ValueAndGradientsAreThoseOfFloat64) {
  for (const auto& [n, m, d] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 3}, {2, 2, 1}, {17, 18, 10}, {64, 30, 129}, {251, 64, 512}})
    for (const int power : {1, 2})
      for (const int64_t settling : {0, 5}) {
        const SinkhornOptions options{.power = power, .settling = settling};
        const Tensors ours{distributions(n, d, 1).requires_grad_(), (normal({m, d}, 2) / std::sqrt(static_cast<double>(d))).requires_grad_()};
        const auto theirs = testing::leaves_like(ours, at::kDouble);
        const auto actual = sinkhorn_divergence(ours[0], ours[1], options), expected = with_libtorch(theirs[0], theirs[1], options);
        SCOPED_TRACE(::testing::Message() << n << " " << m << " " << d << " power " << power << " settling " << settling);
        EXPECT_LT(relative_error(actual, expected), kTolerance);
        (actual * 3).backward(), (expected * 3).backward();
        for (const size_t i : {0, 1}) EXPECT_LT(relative_error(ours[i].grad(), theirs[i].grad()), kTolerance) << i;
      }
}

TEST(SinkhornOp, ADetachedSideGetsNoGradient) {
  const auto source = distributions(18, 10, 3).requires_grad_(), target = distributions(18, 10, 4).requires_grad_();
  const auto loss = sinkhorn_divergence(target, source.detach(), 0.05);
  loss.backward();
  EXPECT_FALSE(source.grad().defined());
  EXPECT_GT(target.grad().abs().max().item<float>(), 0);
  const auto both = distributions(18, 10, 4).requires_grad_();
  sinkhorn_divergence(both, source, 0.05).backward();
  EXPECT_TRUE(source.grad().defined());
  EXPECT_TRUE(at::equal(both.grad(), target.grad())) << "the other side's gradient changes nothing";
}

TEST(SinkhornOp, ABatchOnBothSidesIsNotPulled) {
  const auto x = distributions(18, 10, 3).requires_grad_();
  const auto loss = sinkhorn_divergence(x, x, 0.05);
  EXPECT_EQ(loss.item<float>(), 0);
  loss.backward();
  EXPECT_LT(x.grad().abs().max().item<float>(), 1e-12);
}

TEST(SinkhornOp, StepsAlongTheGradientBringTheBatchesTogether) {
  auto x = distributions(18, 10, 5);
  const auto y = distributions(20, 10, 6);
  const double before = sinkhorn_divergence(x, y, 0.05).item<double>();
  for (int step = 0; step < 200; ++step) {
    const auto point = x.detach().requires_grad_();
    sinkhorn_divergence(point, y, 0.05).backward();
    x = point.detach() - 0.3 * point.grad();
  }
  EXPECT_LT(sinkhorn_divergence(x, y, 0.05).item<double>(), before / 4);
}

TEST(SinkhornOp, StridesAndTypesDoNotMatter) {
  const auto x = distributions(10, 17, 7), y = distributions(10, 12, 8);
  const auto expected = sinkhorn_divergence(x.t().contiguous(), y.t().contiguous(), 0.05);
  const auto turned = x.clone().requires_grad_();
  const auto actual = sinkhorn_divergence(turned.t(), y.t(), 0.05);
  EXPECT_TRUE(at::equal(actual, expected));
  actual.backward();
  EXPECT_EQ(turned.grad().sizes(), turned.sizes());
  const auto half = x.t().to(at::kBFloat16).requires_grad_();
  const auto loss = sinkhorn_divergence(half, y.t().to(at::kDouble), 0.05);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  loss.backward();
  EXPECT_EQ(half.grad().scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(loss, sinkhorn_divergence(half.detach().to(at::kFloat), y.t(), 0.05)));
}

TEST(SinkhornOp, NothingIsRecordedWithoutGradients) {
  const auto x = distributions(5, 3, 1).requires_grad_();
  const at::NoGradGuard guard;
  EXPECT_FALSE(sinkhorn_divergence(x, x.detach() + 1, 0.05).requires_grad());
}

TEST(SinkhornOp, WrongShapesAndNumbersAreRefused) {
  const auto x = distributions(5, 3, 1);
  EXPECT_THROW(sinkhorn_divergence(x, distributions(5, 4, 1), 0.05), InvalidArgument);
  EXPECT_THROW(sinkhorn_divergence(x[0], x, 0.05), InvalidArgument);
  EXPECT_THROW(sinkhorn_divergence(x, x.slice(0, 0, 0), 0.05), InvalidArgument);
  EXPECT_THROW(sinkhorn_divergence(x.slice(0, 0, 0), x, 0.05), InvalidArgument);
  EXPECT_THROW(sinkhorn_divergence(x / 0, x, 0.05), InvalidArgument);
  EXPECT_THROW(sinkhorn_divergence(x, x, 0.0), InvalidArgument);
}

}  // namespace
}  // namespace graft::ops
