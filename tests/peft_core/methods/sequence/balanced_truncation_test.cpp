#include "peft_core/methods/sequence/balanced_truncation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

struct Example {
  at::Tensor diagonal, b, c;
};

Example random_system(int64_t d, uint64_t seed) {
  at::manual_seed(seed);
  return {at::rand({d}, at::kDouble) * 0.95, at::randn({d, 5}, at::kDouble), at::randn({4, d}, at::kDouble)};
}

double largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

/// C (z I − A)^-1 B at z = e^(i angle).
at::Tensor transfer(const LinearSystem& s, double angle) {
  const auto z = at::polar(at::ones({1}, at::kDouble), at::full({1}, angle, at::kDouble));
  const auto resolvent = at::linalg_inv(at::eye(s.a.size(0), at::kDouble) * z - s.a);
  return at::mm(s.c.to(at::kComplexDouble), at::mm(resolvent, s.b.to(at::kComplexDouble)));
}

/// The largest singular value of the difference over sampled frequencies.
double sampled_error(const LinearSystem& one, const LinearSystem& other) {
  double worst = 0;
  for (int i = 0; i < 60; ++i) {
    const double angle = M_PI * i / 59.0;
    worst = std::max(worst, at::linalg_svdvals(transfer(one, angle) - transfer(other, angle))[0].item<double>());
  }
  return worst;
}

LinearSystem whole(const Example& e) { return {at::diag(e.diagonal), e.b, e.c}; }

TEST(BalancedTruncation, GramiansSolveTheirEquations) {
  const auto e = random_system(12, 1);
  const auto [wc, wo] = gramians(e.diagonal, e.b, e.c);
  const auto a = at::diag(e.diagonal);
  EXPECT_LT(largest(at::mm(at::mm(a, wc), a.t()) + at::mm(e.b, e.b.t()) - wc), 1e-11 * largest(wc));
  EXPECT_LT(largest(at::mm(at::mm(a.t(), wo), a) + at::mm(e.c.t(), e.c) - wo), 1e-11 * largest(wo));
}

TEST(BalancedTruncation, WithEveryStateItIsTheSameSystem) {
  const auto e = random_system(6, 2);
  const auto reduced = balanced_truncation(e.diagonal, e.b, e.c, 0);
  ASSERT_EQ(reduced.system.a.size(0), 6);
  EXPECT_EQ(reduced.error_bound, 0);
  EXPECT_LT(sampled_error(whole(e), reduced.system), 1e-8);
}

TEST(BalancedTruncation, BothGramiansBecomeTheHankelValues) {
  const auto e = random_system(6, 3);
  const auto [system, sigma, bound] = balanced_truncation(e.diagonal, e.b, e.c, 0);
  const auto expected = at::diag(sigma);
  EXPECT_LT(largest(at::mm(at::mm(system.a, expected), system.a.t()) + at::mm(system.b, system.b.t()) - expected), 1e-8 * largest(expected));
  EXPECT_LT(largest(at::mm(at::mm(system.a.t(), expected), system.a) + at::mm(system.c.t(), system.c) - expected), 1e-8 * largest(expected));
}

TEST(BalancedTruncation, TheErrorStaysBelowTheBoundAndTheSystemStable) {
  const auto e = random_system(32, 4);
  int64_t before = 33;
  for (const double tolerance : {1e-6, 1e-3, 0.01, 0.1, 0.5, 1.0}) {
    const auto reduced = balanced_truncation(e.diagonal, e.b, e.c, tolerance);
    const auto kept = reduced.system.a.size(0);
    EXPECT_LE(kept, before);
    before = kept;
    EXPECT_LE(sampled_error(whole(e), reduced.system), reduced.error_bound + 1e-7) << kept;
    EXPECT_LT(largest(at::linalg_eigvals(reduced.system.a)), 1) << kept;
    EXPECT_GE(reduced.hankel_values[kept - 1].item<double>(), tolerance * reduced.hankel_values[0].item<double>());
  }
  EXPECT_EQ(before, 1);  // the largest is always kept
}

TEST(BalancedTruncation, UnstableSystemsAreRefused) {
  auto e = random_system(3, 5);
  e.diagonal[1] = 1.0;
  EXPECT_THROW(balanced_truncation(e.diagonal, e.b, e.c, 0.1), InvalidArgument);
  EXPECT_THROW(balanced_truncation(random_system(3, 5).diagonal, e.b, e.c, 1.5), InvalidArgument);
}

}  // namespace
}  // namespace graft::peft
