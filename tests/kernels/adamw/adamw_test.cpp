#include "kernels/adamw/adamw.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace graft::kernels {
namespace {

using Floats = std::vector<float>;

// Vectors hold 1, 4, 8 or 16 numbers, a piece 16384.
constexpr int64_t kSizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 127, 1009, 16383, 16384, 16385, 100003};

Floats random_floats(int64_t count, uint32_t seed, float scale) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(static_cast<size_t>(count));
  for (auto& value : values) value = normal(random);
  return values;
}

AdamWScalars scalars_of(double rate, double weight_decay, int64_t t) {
  const double beta1 = 0.9, beta2 = 0.999, steps = static_cast<double>(t);
  return {.decay = static_cast<float>(1 - rate * weight_decay),
          .one_minus_beta1 = static_cast<float>(1 - beta1),
          .beta2 = static_cast<float>(beta2),
          .one_minus_beta2 = static_cast<float>(1 - beta2),
          .minus_step_size = static_cast<float>(-rate / (1 - std::pow(beta1, steps))),
          .root_correction2 = static_cast<float>(std::sqrt(1 - std::pow(beta2, steps))),
          .epsilon = 1e-8f};
}

struct Tensors {
  Floats p, g, m, v;
  explicit Tensors(int64_t count, uint32_t seed = 1)
      : p(random_floats(count, seed, 0.1f)), g(random_floats(count, seed + 1, 0.01f)), m(random_floats(count, seed + 2, 0.01f)),
        v(random_floats(count, seed + 3, 0.01f)) {
    for (auto& value : v) value *= value;
  }
  AdamWBuffers buffers() { return {g.data(), m.data(), v.data()}; }
  int64_t count() const { return static_cast<int64_t>(p.size()); }
  std::vector<AdamWPiece> pieces() {
    std::vector<AdamWPiece> list;
    append_adamw_pieces(p.data(), 0, count(), 0, list);
    return list;
  }
  void step(const AdamWScalars& scalars, float scale) { adamw_update(pieces(), {&scalars, 1}, scale, buffers()); }
  double squares() {
    const auto list = pieces();
    std::vector<double> sums(list.size());
    return sum_of_squares(list, g.data(), sums);
  }
};

bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

void expect_same(const Tensors& a, const Tensors& b, int64_t count) {
  EXPECT_TRUE(same_bits(a.p, b.p)) << count;
  EXPECT_TRUE(same_bits(a.g, b.g)) << count;
  EXPECT_TRUE(same_bits(a.m, b.m)) << count;
  EXPECT_TRUE(same_bits(a.v, b.v)) << count;
}

/// The loop that the optimizer had before it became a kernel: the order of operations, and the bits, that resume files rely on.
void rounded_one_by_one(const AdamWScalars& s, float scale, Tensors& x) {
  for (size_t i = 0; i < x.p.size(); ++i) {
    const volatile float gradient = x.g[i] * scale, difference = gradient - x.m[i], pull = s.one_minus_beta1 * difference;
    const volatile float first = x.m[i] + pull, kept = x.v[i] * s.beta2, scaled = s.one_minus_beta2 * gradient, square = scaled * gradient;
    const volatile float second = kept + square, root = std::sqrt(second), corrected = root / s.root_correction2;
    const volatile float denominator = corrected + s.epsilon, numerator = s.minus_step_size * first, step = numerator / denominator;
    const volatile float decayed = x.p[i] * s.decay;
    x.p[i] = decayed + step;
    x.m[i] = first;
    x.v[i] = second;
    x.g[i] = 0;
  }
}

TEST(AdamW, GivesTheBitsOfOneRoundingAnOperation) {
  for (const int64_t count : kSizes) {
    for (const double weight_decay : {0.0, 0.1}) {
      for (const float scale : {1.0f, 0.37f}) {
        Tensors actual(count), expected(count);
        for (int64_t t = 1; t < 4; ++t) {
          const auto scalars = scalars_of(1e-3, weight_decay, t);
          actual.step(scalars, scale);
          rounded_one_by_one(scalars, scale, expected);
          expect_same(actual, expected, count);
          actual.g = expected.g = random_floats(count, static_cast<uint32_t>(10 + t), 0.01f);
        }
      }
    }
  }
}

// u = 2^-24 is the relative error of one rounding. g has 1, the difference 2 (its error is one of the larger operand: |g| + |m|), the product 3;
// m' adds its own: 4u(|g| + |m|) + u|m'|. v' is a sum of positive terms of at most 2 (g) · 1 + 2 + 1 = 5 roundings. The root halves that and
// adds one, division and epsilon one each: 6 for the denominator; the step has that, the error of m', and two roundings more; p' has two more.
TEST(AdamW, IsWithinItsRoundingsOfTheReference) {
  constexpr double u = 1.0 / (1 << 24);
  for (const int64_t count : kSizes) {
    for (const double weight_decay : {0.0, 0.1}) {
      const auto scalars = scalars_of(1e-3, weight_decay, 3);
      Tensors actual(count), exact(count);
      const Tensors before(count);
      actual.step(scalars, 0.37f);
      adamw_update_reference(scalars, 0.37f, count, exact.p.data(), exact.g.data(), exact.m.data(), exact.v.data());
      for (size_t i = 0; i < actual.p.size(); ++i) {
        const double m = exact.m[i], v = exact.v[i], p = exact.p[i];
        // One u more than derived for the reference's own rounding when it is stored.
        const double m_bound = u * (4 * (std::fabs(before.g[i]) + std::fabs(before.m[i])) + 2 * std::fabs(m));
        const double per_unit = std::fabs(scalars.minus_step_size) / (std::sqrt(v) / scalars.root_correction2 + scalars.epsilon);
        const double p_bound = per_unit * (m_bound + 9 * u * std::fabs(m)) + 3 * u * (std::fabs(p) + std::fabs(before.p[i]));
        ASSERT_NEAR(actual.m[i], m, m_bound) << i << " of " << count;
        ASSERT_NEAR(actual.v[i], v, 6 * u * v) << i << " of " << count;
        ASSERT_NEAR(actual.p[i], p, p_bound) << i << " of " << count;
        ASSERT_EQ(actual.g[i], 0.0f);
      }
    }
  }
}

// From zero moments the first step is p · decay − rate · g / (|g| + eps') whatever the gradient's size: its two corrections cancel (1 − b)g.
TEST(AdamW, TheFirstStepHasTheClosedForm) {
  Tensors x(1009);
  std::fill(x.m.begin(), x.m.end(), 0.0f);
  std::fill(x.v.begin(), x.v.end(), 0.0f);
  const Tensors before = x;
  const double rate = 0.01, weight_decay = 0.5, scale = 0.25;
  x.step(scalars_of(rate, weight_decay, 1), static_cast<float>(scale));
  for (size_t i = 0; i < x.p.size(); ++i) {
    const double g = before.g[i] * scale, p = before.p[i];
    // Some 12 roundings of a step of at most `rate`, and of b2: 1 − fl(0.999) is off by 2^-25 / 0.001, which the root halves.
    const double bound = 12.0 / (1 << 24) * (rate + std::fabs(p)) + rate * std::ldexp(1.0, -25) / 0.001;
    ASSERT_NEAR(x.p[i], p * (1 - rate * weight_decay) - rate * g / (std::fabs(g) + 1e-8), bound) << i;
  }
}

TEST(AdamW, DecayIsDecoupledFromTheGradient) {
  Tensors still(33), plain(33), decayed(33);
  std::fill(still.g.begin(), still.g.end(), 0.0f);
  std::fill(still.m.begin(), still.m.end(), 0.0f);
  const Tensors before = still;
  const auto scalars = scalars_of(0.1, 0.5, 2);
  still.step(scalars, 1);
  for (size_t i = 0; i < still.p.size(); ++i) EXPECT_EQ(still.p[i], before.p[i] * scalars.decay);
  plain.step(scalars_of(0.1, 0, 2), 1);
  decayed.step(scalars, 1);
  EXPECT_TRUE(same_bits(plain.m, decayed.m)) << "decay must not enter the moments";
  EXPECT_TRUE(same_bits(plain.v, decayed.v));
  EXPECT_FALSE(same_bits(plain.p, decayed.p));
}

TEST(AdamW, ClippingScalesTheGradientBeforeTheMoments) {
  Tensors clipped(1009), scaled(1009);
  const auto scalars = scalars_of(1e-3, 0.1, 2);
  for (auto& g : scaled.g) g *= 0.3f;
  clipped.step(scalars, 0.3f);
  scaled.step(scalars, 1.0f);
  expect_same(clipped, scaled, 1009);
}

TEST(AdamW, EachTensorHasItsScalarsAndNothingBetweenThemIsTouched) {
  constexpr int64_t kFirst = 17, kSecond = 40000, kAt = 32, kEnd = 40064;
  Tensors whole(kEnd), before(kEnd);
  std::vector<AdamWPiece> pieces;
  append_adamw_pieces(whole.p.data(), 0, kFirst, 0, pieces);
  append_adamw_pieces(whole.p.data() + kAt, kAt, kSecond, 1, pieces);
  EXPECT_EQ(pieces.size(), 1u + 3u);
  const AdamWScalars scalars[] = {scalars_of(1e-3, 0.1, 1), scalars_of(1e-2, 0, 5)};
  Tensors first = before, second = before;
  first.step(scalars[0], 0.5f);
  second.step(scalars[1], 0.5f);
  adamw_update(pieces, scalars, 0.5f, whole.buffers());
  for (int64_t i = 0; i < kEnd; ++i) {
    const auto at = static_cast<size_t>(i);
    const Tensors& expected = i < kFirst ? first : i >= kAt && i < kAt + kSecond ? second : before;
    ASSERT_EQ(whole.p[at], expected.p[at]) << i;
    ASSERT_EQ(whole.g[at], expected.g[at]) << i;
    ASSERT_EQ(whole.m[at], expected.m[at]) << i;
    ASSERT_EQ(whole.v[at], expected.v[at]) << i;
  }
}

TEST(AdamW, TheSameBitsForAnyNumberOfThreads) {
  const auto scalars = scalars_of(1e-3, 0.1, 2);
  Tensors expected(100003);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const double sum = expected.squares();
  expected.step(scalars, 0.7f);
  for (const int count : {1, 2, 3, 7}) {
    omp_set_num_threads(count);
    Tensors x(100003);
    EXPECT_EQ(x.squares(), sum) << count;
    x.step(scalars, 0.7f);
    expect_same(x, expected, 100003);
  }
  omp_set_num_threads(threads);
}

// Sums of positive terms in another order differ by at most one rounding a term, in double.
TEST(AdamW, SquaresSumAsTheReferenceDoes) {
  for (const int64_t count : kSizes) {
    Tensors x(count);
    const double expected = sum_of_squares_reference(x.g.data(), count);
    EXPECT_NEAR(x.squares(), expected, static_cast<double>(count) * std::ldexp(expected, -52)) << count;
  }
}

TEST(AdamW, SquaresKeepEightSumsInOrder) {
  for (const int64_t count : {int64_t{7}, int64_t{9}, int64_t{1009}, int64_t{16384}}) {
    Tensors x(count);
    double lanes[8] = {}, sum = 0;
    const int64_t whole = count / 8 * 8;
    const auto square = [&](int64_t i) {
      const double value = x.g[static_cast<size_t>(i)];
      return value * value;
    };
    for (int64_t i = 0; i < whole; ++i) lanes[i % 8] += square(i);
    for (int64_t i = whole; i < count; ++i) sum += square(i);
    for (const double lane : lanes) sum += lane;
    EXPECT_EQ(x.squares(), sum) << count;
  }
}

TEST(AdamW, WhatIsNotFiniteStaysSo) {
  Tensors x(17);
  x.g[3] = std::numeric_limits<float>::quiet_NaN();
  x.g[16] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isnan(x.squares()));
  x.step(scalars_of(1e-3, 0, 1), 1);
  EXPECT_TRUE(std::isnan(x.p[3]));
  EXPECT_TRUE(std::isnan(x.p[16]));
  EXPECT_TRUE(std::isfinite(x.p[2]));
}

}  // namespace
}  // namespace graft::kernels
