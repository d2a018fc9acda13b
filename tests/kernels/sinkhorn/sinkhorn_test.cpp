#include "kernels/sinkhorn/sinkhorn.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <tuple>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/sinkhorn/problem.h"

namespace graft::kernels {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

struct Case {
  int64_t n, m, width;
  Floats x, y;
  TwoBatches<float> batches() const { return {x.data(), n, y.data(), m, width}; }
  Case swapped() const { return {m, n, width, y, x}; }
};

Floats random_points(int64_t count, int64_t width, uint32_t seed, float scale = 1, float shift = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats points(static_cast<size_t>(count * width));
  for (auto& value : points) value = normal(random) * scale + shift;
  return points;
}

/// Two clouds that overlap, of about unit length whatever the width.
Case random_case(int64_t n, int64_t m, int64_t width, uint32_t seed) {
  const float scale = 1 / std::sqrt(static_cast<float>(width));
  return {n, m, width, random_points(n, width, seed, scale), random_points(m, width, seed + 1, scale, scale / 2)};
}

struct Result {
  double value = 0;
  Doubles dx, dy;
};

Result fast(const Case& of, const SinkhornOptions& options = {}) {
  Floats dx(of.x.size(), -7.0f), dy(of.y.size(), -7.0f);
  const double value = sinkhorn_divergence(of.batches(), options, dx.data(), dy.data());
  return {value, {dx.begin(), dx.end()}, {dy.begin(), dy.end()}};
}

Result reference(const Case& of, const SinkhornOptions& options = {}) {
  const Doubles x(of.x.begin(), of.x.end()), y(of.y.begin(), of.y.end());
  Result result{0, Doubles(x.size(), -7.0), Doubles(y.size(), -7.0)};
  result.value = sinkhorn_divergence_reference({x.data(), of.n, y.data(), of.m, of.width}, options, result.dx.data(), result.dy.data());
  return result;
}

double largest(const Doubles& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

double furthest(const Doubles& a, const Doubles& b) {
  Doubles difference;
  for (size_t i = 0; i < a.size(); ++i) difference.push_back(a[i] - b[i]);
  return largest(difference);
}

// Doubles throughout: an exponent is good to some u · diameter / blur, u = 2^-53, about 1e-13 here; a gradient is rounded to fp32 at the end,
// half a unit of 2^-24 of at most 2 / n (unit pulls of both plans).
constexpr double kValueTolerance = 1e-11;
double gradient_tolerance(int64_t n) { return 2 * 0x1p-24 / static_cast<double>(n) + 1e-12; }

class Sizes : public ::testing::TestWithParam<std::tuple<int64_t, int64_t>> {};
INSTANTIATE_TEST_SUITE_P(Counts, Sizes, ::testing::Combine(::testing::Values(1, 2, 17, 64, 251), ::testing::Values(1, 2, 17, 64, 251)));

TEST_P(Sizes, EqualTheReference) {
  const auto [n, m] = GetParam();
  for (const int64_t width : {1, 8, 41})
    for (const int power : {1, 2}) {
      const auto of = random_case(n, m, width, static_cast<uint32_t>(n + 1000 * m + width));
      const auto actual = fast(of, {.power = power}), expected = reference(of, {.power = power});
      SCOPED_TRACE(testing::Message() << "width " << width << " power " << power);
      EXPECT_NEAR(actual.value, expected.value, kValueTolerance);
      // A pull of power 2 is as long as the points are apart: up to the diameter, below 8.
      const double reach = power == 1 ? 1 : 8;
      EXPECT_LT(furthest(actual.dx, expected.dx), reach * gradient_tolerance(n));
      EXPECT_LT(furthest(actual.dy, expected.dy), reach * gradient_tolerance(m));
    }
}

TEST(Sinkhorn, EqualsTheReferenceAtFullWidth) {
  const auto of = random_case(37, 41, 1024, 3);
  const auto actual = fast(of), expected = reference(of);
  EXPECT_NEAR(actual.value, expected.value, kValueTolerance);
  EXPECT_LT(furthest(actual.dx, expected.dx), gradient_tolerance(37));
}

TEST_P(Sizes, SymmetricToTheLastBit) {
  const auto [n, m] = GetParam();
  const auto of = random_case(n, m, 10, 5);
  const auto there = fast(of), back = fast(of.swapped());
  EXPECT_EQ(there.value, back.value);
  EXPECT_EQ(there.dx, back.dy);
  EXPECT_EQ(there.dy, back.dx);
}

TEST(Sinkhorn, EqualBatchesAreNotApart) {
  for (const int64_t n : {1, 2, 17, 64, 251})
    for (const int64_t width : {1, 10, 129}) {
      const auto points = random_points(n, width, 9);
      const Case of{n, n, width, points, points};
      const auto result = fast(of);
      EXPECT_EQ(result.value, 0) << n;
      // What the two batches pull with is the same, up to the rounding of two sums of doubles.
      EXPECT_LT(largest(result.dx), 1e-13) << n;
    }
}

TEST(Sinkhorn, TwoSinglePointsAreTheirDistanceApart) {
  const Case of{1, 1, 2, {1, 2}, {4, 6}};
  const auto result = fast(of);
  EXPECT_EQ(result.value, 5);
  EXPECT_NEAR(result.dx[0], -0.6, 1e-7);
  EXPECT_NEAR(result.dx[1], -0.8, 1e-7);
  EXPECT_NEAR(result.dy[0], 0.6, 1e-7);
  EXPECT_EQ(fast(of, {.power = 2}).value, 12.5);
  EXPECT_EQ(reference(of).value, 5);
  for (const float apart : {1e-6f, 0.02f, 3e5f}) EXPECT_EQ(fast({1, 1, 1, {0}, {apart}}).value, apart);  // narrower than the blur, too
}

TEST(Sinkhorn, PointsThatFallTogetherHaveNoPull) {
  const Case of{3, 2, 2, {1, 2, 1, 2, 1, 2}, {1, 2, 1, 2}};
  const auto result = fast(of);
  EXPECT_EQ(result.value, 0);
  EXPECT_EQ(largest(result.dx), 0);
  EXPECT_EQ(largest(result.dy), 0);
  const Case some{2, 2, 1, {0, 1}, {0, 3}};  // a pair at one place among others
  EXPECT_TRUE(std::isfinite(largest(fast(some).dx)));
  EXPECT_LT(furthest(fast(some).dx, reference(some).dx), gradient_tolerance(2));
}

TEST(Sinkhorn, TheOrderOfThePointsDoesNotMatter) {
  const auto of = random_case(64, 51, 6, 11);
  auto shuffled = of;
  for (size_t i = 0; i < 64; ++i) std::copy_n(&of.x[6 * ((i * 5 + 3) % 64)], 6, &shuffled.x[6 * i]);
  for (size_t i = 0; i < 51; ++i) std::copy_n(&of.y[6 * ((i * 7 + 1) % 51)], 6, &shuffled.y[6 * i]);
  const auto expected = fast(of), actual = fast(shuffled);
  EXPECT_NEAR(actual.value, expected.value, kValueTolerance);
  for (size_t i = 0; i < 64; ++i)
    for (size_t c = 0; c < 6; ++c) EXPECT_NEAR(actual.dx[6 * i + c], expected.dx[6 * ((i * 5 + 3) % 64) + c], gradient_tolerance(64));
}

/// Mean cost of the best of all matchings, each point standing as often as makes both batches equally long.
double cheapest_matching(const Case& of, int power) {
  const int64_t count = std::lcm(of.n, of.m);
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  double best = INFINITY;
  do {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      double squared = 0;
      for (int64_t c = 0; c < of.width; ++c) {
        const double difference = of.x[static_cast<size_t>(i % of.n * of.width + c)] - of.y[static_cast<size_t>(order[static_cast<size_t>(i)] % of.m * of.width + c)];
        squared += difference * difference;
      }
      sum += power == 1 ? std::sqrt(squared) : squared / 2;
    }
    best = std::min(best, sum / static_cast<double>(count));
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

// Entropy changes OT_ε by no more than ε log(points) from the cheapest plan's cost; two of the three terms count half. Potentials move by some ε
// an update where a point's weight is divided, so ε has to go down slowly.
TEST(Sinkhorn, ComesToTheCheapestPlanAsTheBlurGoesToZero) {
  for (const auto& [n, m] : {std::pair<int64_t, int64_t>{2, 2}, {3, 3}, {2, 3}, {3, 2}, {1, 3}})
    for (uint32_t seed = 0; seed < 5; ++seed)
      for (const int power : {1, 2})
        for (const double blur : {0.1, 0.01, 1e-3}) {
          const auto of = random_case(n, m, 3, 100 + seed);
          const double bound = 2 * std::pow(blur, power) * std::log(3.0);
          EXPECT_NEAR(fast(of, {.blur = blur, .power = power, .scaling = 0.98, .settling = 400}).value, cheapest_matching(of, power), bound)
              << n << " and " << m << ", blur " << blur << ", power " << power;
        }
}

// At convergence the plan-weighted pull is the derivative. Central differences with step h err by h² times a third derivative of at most about
// 1 / (points · blur²), and by u / h: 1e-8 and 1e-11 at h = 1e-5, blur 0.1.
TEST(Sinkhorn, GradientIsTheDerivativeAtConvergence) {
  for (const auto& [n, m] : {std::pair<int64_t, int64_t>{1, 1}, {2, 3}, {5, 4}})
    for (const int power : {1, 2}) {
      const SinkhornOptions options{.blur = 0.3, .power = power, .settling = 3000};
      const auto of = random_case(n, m, 3, 21);
      const auto result = reference(of, options);
      const Doubles x(of.x.begin(), of.x.end()), y(of.y.begin(), of.y.end());
      const auto slope = [&](bool of_x, size_t at) {
        const double step = 1e-5;
        double values[2];
        for (const int side : {0, 1}) {
          auto moved_x = x, moved_y = y;
          (of_x ? moved_x : moved_y)[at] += side == 1 ? step : -step;
          values[side] = sinkhorn_divergence_reference({moved_x.data(), n, moved_y.data(), m, 3}, options, nullptr, nullptr);
        }
        return (values[1] - values[0]) / (2 * step);
      };
      for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(result.dx[i], slope(true, i), 1e-7) << n << " x " << i << " power " << power;
      for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(result.dy[i], slope(false, i), 1e-7) << n << " y " << i << " power " << power;
    }
}

TEST(Sinkhorn, TheScheduleGoesDownByTheScaling) {
  using detail::epsilons;
  EXPECT_EQ(epsilons(1, {.blur = 1}), (Doubles{1, 1}));
  const auto usual = epsilons(0.9, {.blur = 0.25});
  ASSERT_EQ(usual.size(), 4u);
  EXPECT_NEAR(usual[0], 0.9, 1e-12);
  EXPECT_NEAR(usual[1], 0.9, 1e-12);
  EXPECT_NEAR(usual[2], 0.45, 1e-12);
  EXPECT_EQ(usual[3], 0.25);
  const auto squared = epsilons(0.9, {.blur = 0.25, .power = 2, .settling = 2});
  ASSERT_EQ(squared.size(), 6u);
  EXPECT_NEAR(squared[2], 0.2025, 1e-12);
  EXPECT_EQ(squared[5], 0.0625);
  EXPECT_EQ(epsilons(0.01, {.blur = 0.25}).size(), 2u) << "narrower than the blur";
}

TEST(Sinkhorn, GradientsAreOptional) {
  const auto of = random_case(20, 9, 5, 2);
  const auto expected = fast(of);
  Floats dx(of.x.size()), dy(of.y.size());
  EXPECT_EQ(sinkhorn_divergence(of.batches(), {}, nullptr, nullptr), expected.value);
  EXPECT_EQ(sinkhorn_divergence(of.batches(), {}, dx.data(), nullptr), expected.value);
  EXPECT_EQ(Doubles(dx.begin(), dx.end()), expected.dx);
  EXPECT_EQ(sinkhorn_divergence(of.batches(), {}, nullptr, dy.data()), expected.value);
  EXPECT_EQ(Doubles(dy.begin(), dy.end()), expected.dy);
}

void expect_refused(const Case& of, const SinkhornOptions& options = {}) {
  EXPECT_THROW(sinkhorn_divergence(of.batches(), options, nullptr, nullptr), InvalidArgument);
  EXPECT_THROW(reference(of, options), InvalidArgument);
}

TEST(Sinkhorn, WhatHasNoMeaningIsRefused) {
  expect_refused({0, 2, 1, {}, {1, 2}});
  expect_refused({2, 0, 1, {1, 2}, {}});
  expect_refused({1, 1, 0, {}, {}});
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    expect_refused({2, 1, 1, {1, bad}, {1}});
    expect_refused({1, 2, 1, {1}, {bad, 1}});
  }
  const Case good{1, 1, 1, {0}, {1}};
  for (const double bad : {0.0, -1.0, std::nan(""), HUGE_VAL}) expect_refused(good, {.blur = bad});
  expect_refused(good, {.power = 3});
  for (const double bad : {0.0, 1.0, std::nan("")}) expect_refused(good, {.scaling = bad});
  expect_refused(good, {.settling = -1});
}

TEST(Sinkhorn, ExtremesStayFinite) {
  const Case wide{3, 2, 1, {-1e30f, 0, 1e30f}, {1e-30f, 5}};
  EXPECT_TRUE(std::isfinite(fast(wide).value));
  EXPECT_TRUE(std::isfinite(largest(fast(wide).dx)));
  const auto narrow = fast(random_case(9, 9, 4, 8), {.blur = 1e-8});
  EXPECT_TRUE(std::isfinite(narrow.value));
  EXPECT_TRUE(std::isfinite(largest(narrow.dx)));
}

TEST(Sinkhorn, TheSameBitsForAnyNumberOfThreads) {
  const int before = omp_get_max_threads();
  for (const int64_t n : {9, 64, 251}) {
    const auto of = random_case(n, n + 3, 130, 4);
    omp_set_num_threads(1);
    const auto alone = fast(of);
    for (const int threads : {2, 3, 7}) {
      omp_set_num_threads(threads);
      const auto together = fast(of);
      EXPECT_EQ(together.value, alone.value);
      EXPECT_EQ(together.dx, alone.dx);
      EXPECT_EQ(together.dy, alone.dy);
    }
  }
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace graft::kernels
