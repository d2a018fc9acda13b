#include "kernels/rows/norm_rows.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <limits>

#include "kernels/rows/rows_reference.h"
#include "tests/kernels/rows/row_buffers.h"

namespace graft::kernels {
namespace {

class NormRows : public RowKernels {};
GRAFT_EVERY_ROW_CASE(NormRows);

constexpr float kEpsilon = 1e-5f;

struct NormCase {
  int64_t rows, n;
  Buffer x, g, beside, weight, bias, y, sum, mean, inverse;

  NormCase(Element type, int64_t row_count, int64_t width, uint32_t seed)
      : rows(row_count), n(width), x(Buffer::normal(type, rows * n, seed)), g(Buffer::normal(type, rows * n, seed + 1)),
        beside(Buffer::normal(type, rows * n, seed + 2)), weight(Buffer::normal(Element::kFloat32, n, seed + 3)),
        bias(Buffer::normal(Element::kFloat32, n, seed + 4)), y(type, rows * n), sum(type, rows * n), mean(Element::kFloat32, rows),
        inverse(Element::kFloat32, rows) {}

  RmsNormBackward backward(std::span<const void* const> gradients, Buffer& dx, Buffer* dweight) {
    return {.rows = rows, .n = n, .g = gradients, .x = x.data(), .weight = weight.floats(), .inverse_rms = inverse.floats(),
            .dx = dx.data(), .dweight = dweight == nullptr ? nullptr : dweight->floats()};
  }

  std::string what() const { return std::to_string(rows) + " x " + std::to_string(n); }
  double sums() const { return sum_error(std::sqrt(static_cast<double>(n))); }

  /// What rounding a row's gradient is measured by: dx is a difference of terms that may cancel, its error is that of the terms.
  /// Largest g·w and x̂ · mean(|g·w·x̂|), times inverse.
  double terms(int64_t r) const {
    double largest = 0, mean_term = 0, largest_x = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double gw = std::abs(g[r * n + i] * weight[i]), normal = std::abs(x[r * n + i] - mean[r]) * inverse[r];
      largest = std::max(largest, gw), largest_x = std::max(largest_x, normal), mean_term += gw * normal / static_cast<double>(n);
    }
    return inverse[r] * (largest + (largest_x + 1) * (mean_term + largest));
  }
  Bound gradient_bound(const Buffer& expected, double unit) const {
    std::vector<double> of_row;
    for (int64_t r = 0; r < rows; ++r) of_row.push_back(terms(r));
    return [&expected, unit, of_row, this](int64_t i) {
      return unit * std::abs(expected[i]) + sums() * of_row[static_cast<size_t>(i / n)] + 2 * kUnit * std::abs(beside[i]);
    };
  }
  /// A column's Σ |g · x̂|, or Σ |g|.
  Bound column_bound(bool with_x) const {
    std::vector<double> columns(static_cast<size_t>(n), 6.0);  // 6: what it held before
    for (int64_t i = 0; i < rows * n; ++i)
      columns[static_cast<size_t>(i % n)] +=
          std::abs(g[i]) * (with_x ? (std::abs(x[i]) + std::abs(mean[i / n])) * inverse[i / n] : 1.0);
    const double error = sum_error(std::sqrt(static_cast<double>(rows)));
    return [columns, error](int64_t i) { return error * columns[static_cast<size_t>(i)]; };
  }
};

template <class Body>
void over_cases(Element type, const Body& body) {
  for (const int64_t rows : {0, 1, 5})
    for (const int64_t n : row_sizes())
      if (n > 0 || rows == 0) {
        NormCase c(type, rows, n, 1);
        body(c);
        if (::testing::Test::HasFatalFailure()) return;
      }
  NormCase large(type, 67, 4099, 1);
  body(large);
}

TEST_P(NormRows, RmsNormEqualsItsReference) {
  over_cases(type(), [&](NormCase& c) {
    Buffer y(type(), c.x.size()), inverse(Element::kFloat32, c.rows);
    rms_norm_rows(type(), c.x.data(), c.weight.floats(), kEpsilon, c.rows, c.n, c.y.data(), c.inverse.floats());
    rms_norm_rows_reference(type(), c.x.data(), c.weight.floats(), kEpsilon, c.rows, c.n, y.data(), inverse.floats());
    expect_close(c.inverse, inverse, within(inverse, c.sums()), "inverse " + c.what());
    expect_close(c.y, y, within(y, c.sums() + unit()), c.what());
  });
}

TEST_P(NormRows, RmsNormBackwardEqualsItsReference) {
  over_cases(type(), [&](NormCase& c) {
    rms_norm_rows_reference(type(), c.x.data(), c.weight.floats(), kEpsilon, c.rows, c.n, c.y.data(), c.inverse.floats());
    for (const bool beside : {false, true}) {
      Buffer dx(type(), c.x.size()), expected_dx = dx;
      auto dweight = Buffer::normal(Element::kFloat32, c.n, 6), expected_dweight = dweight;  // added to, not overwritten
      const std::array<const void*, 1> g{c.g.data()};
      auto norm = c.backward(g, dx, &dweight);
      norm.beside = beside ? c.beside.data() : nullptr;
      rms_norm_rows_backward(type(), norm);
      norm.dx = expected_dx.data(), norm.dweight = expected_dweight.floats();
      rms_norm_rows_backward_reference(type(), norm);
      expect_close(dx, expected_dx, c.gradient_bound(expected_dx, unit()), c.what());
      expect_close(dweight, expected_dweight, c.column_bound(true), "weight, " + c.what());
    }
  });
}

TEST_P(NormRows, GradientsOfSeveralReadersCountAsTheirSum) {
  for (const int readers : {2, 3, 4}) {
    NormCase c(type(), 5, 577, 1);
    rms_norm_rows_reference(type(), c.x.data(), c.weight.floats(), kEpsilon, 5, 577, c.y.data(), c.inverse.floats());
    std::vector<Buffer> parts;
    std::vector<const void*> g;
    for (int k = 0; k < readers; ++k) parts.push_back(Buffer::normal(type(), 5 * 577, 20 + static_cast<uint32_t>(k)));
    for (auto& part : parts) g.push_back(part.data());
    for (int64_t i = 0; i < c.g.size(); ++i) {  // the bounds are measured by the size of all terms
      double size = 0;
      for (const auto& part : parts) size += std::abs(part[i]);
      c.g.set(i, static_cast<float>(size));
    }
    Buffer dx(type(), c.x.size()), expected_dx = dx, dweight(Element::kFloat32, 577), expected_dweight = dweight;
    auto norm = c.backward(g, dx, &dweight);
    norm.beside = c.beside.data();
    rms_norm_rows_backward(type(), norm);
    norm.dx = expected_dx.data(), norm.dweight = expected_dweight.floats();
    rms_norm_rows_backward_reference(type(), norm);
    expect_close(dx, expected_dx, c.gradient_bound(expected_dx, unit()), std::to_string(readers) + " readers");
    expect_close(dweight, expected_dweight, c.column_bound(true), "weight");
  }
}

TEST_P(NormRows, AddRmsNormEqualsItsReferenceAndTheTwoSteps) {
  over_cases(type(), [&](NormCase& c) {
    Buffer sum(type(), c.x.size()), y = sum, inverse(Element::kFloat32, c.rows);
    add_rms_norm_rows(type(), c.x.data(), c.beside.data(), c.weight.floats(), kEpsilon, c.rows, c.n, c.sum.data(), c.y.data(),
                      c.inverse.floats());
    add_rms_norm_rows_reference(type(), c.x.data(), c.beside.data(), c.weight.floats(), kEpsilon, c.rows, c.n, sum.data(), y.data(),
                                inverse.floats());
    EXPECT_TRUE(c.sum == sum) << c.what();  // one rounding of two numbers: nothing may differ
    expect_close(c.inverse, inverse, within(inverse, c.sums()), "inverse " + c.what());
    expect_close(c.y, y, within(y, c.sums() + unit()), c.what());
    rms_norm_rows(type(), sum.data(), c.weight.floats(), kEpsilon, c.rows, c.n, y.data(), inverse.floats());
    EXPECT_TRUE(c.y == y && c.inverse == inverse) << c.what();
  });
}

TEST_P(NormRows, LayerNormEqualsItsReference) {
  over_cases(type(), [&](NormCase& c) {
    Buffer y(type(), c.x.size()), mean(Element::kFloat32, c.rows), inverse = mean;
    layer_norm_rows(type(), c.x.data(), c.weight.floats(), c.bias.floats(), kEpsilon, c.rows, c.n, c.y.data(), c.mean.floats(),
                    c.inverse.floats());
    layer_norm_rows_reference(type(), c.x.data(), c.weight.floats(), c.bias.floats(), kEpsilon, c.rows, c.n, y.data(), mean.floats(),
                              inverse.floats());
    // The mean errs by a sum of numbers near 1. Of a row that is a few numbers close together the variance is small beside it: the
    // error of inverse is that of the mean, measured in standard deviations.
    expect_close(c.mean, mean, within(mean, 0, 2 * c.sums()), "mean " + c.what());
    expect_close(c.inverse, inverse, [&](int64_t r) { return c.sums() * inverse[r] * (1 + 5 * inverse[r]); }, "inverse " + c.what());
    expect_close(c.y, y, [&](int64_t i) {
      const double normal = (std::abs(c.x[i]) + 5) * inverse[i / c.n];
      return unit() * std::abs(y[i]) + c.sums() * (1 + normal) * (1 + 5 * inverse[i / c.n]) * (std::abs(c.weight[i % c.n]) + std::abs(c.bias[i % c.n]));
    }, c.what());
  });
}

TEST_P(NormRows, LayerNormOfALargeMeanKeepsTheSpread) {
  // 1000 + N(0, 1): mean(x²) − mean² would lose 20 of 24 bits.
  if (type() == Element::kBFloat16) return;  // bf16 near 1000 has steps of 4
  auto x = Buffer::normal(type(), 577, 1), y = x;
  for (int64_t i = 0; i < 577; ++i) x.set(i, static_cast<float>(x[i]) + 1000.0f);
  Buffer weight(Element::kFloat32, 577), bias = weight, mean(Element::kFloat32, 1), inverse = mean, expected_mean = mean, expected = mean;
  layer_norm_rows(type(), x.data(), weight.floats(), bias.floats(), kEpsilon, 1, 577, y.data(), mean.floats(), inverse.floats());
  layer_norm_rows_reference(type(), x.data(), weight.floats(), bias.floats(), kEpsilon, 1, 577, y.data(), expected_mean.floats(),
                            expected.floats());
  // The mean errs by 1000 · sum_error/√n of a random walk, here below 1e-3, which the variance feels squared.
  EXPECT_NEAR(mean[0], expected_mean[0], 1000 * sum_error(std::sqrt(577.0)));
  EXPECT_NEAR(inverse[0], expected[0], 1e-5);
}

TEST_P(NormRows, LayerNormBackwardEqualsItsReference) {
  over_cases(type(), [&](NormCase& c) {
    layer_norm_rows_reference(type(), c.x.data(), c.weight.floats(), c.bias.floats(), kEpsilon, c.rows, c.n, c.y.data(),
                              c.mean.floats(), c.inverse.floats());
    Buffer dx(type(), c.x.size()), expected_dx = dx;
    auto dweight = Buffer::normal(Element::kFloat32, c.n, 6), expected_dweight = dweight, dbias = dweight, expected_dbias = dweight;
    layer_norm_rows_backward(type(), c.g.data(), c.x.data(), c.weight.floats(), c.mean.floats(), c.inverse.floats(), c.rows, c.n,
                             dx.data(), dweight.floats(), dbias.floats());
    layer_norm_rows_backward_reference(type(), c.g.data(), c.x.data(), c.weight.floats(), c.mean.floats(), c.inverse.floats(), c.rows,
                                       c.n, expected_dx.data(), expected_dweight.floats(), expected_dbias.floats());
    expect_close(dx, expected_dx, c.gradient_bound(expected_dx, unit()), c.what());
    expect_close(dweight, expected_dweight, c.column_bound(true), "weight, " + c.what());
    expect_close(dbias, expected_dbias, c.column_bound(false), "bias, " + c.what());
  });
}

TEST_P(NormRows, BackwardLeavesOutTheSumsThatNobodyAsksFor) {
  NormCase c(type(), 3, 37, 3);
  Buffer dx(type(), 111), again = dx, dweight(Element::kFloat32, 37), dbias = dweight;
  rms_norm_rows(type(), c.x.data(), c.weight.floats(), kEpsilon, 3, 37, c.y.data(), c.inverse.floats());
  const std::array<const void*, 1> g{c.g.data()};
  rms_norm_rows_backward(type(), c.backward(g, dx, nullptr));
  rms_norm_rows_backward(type(), c.backward(g, again, &dweight));
  EXPECT_TRUE(dx == again);
  layer_norm_rows(type(), c.x.data(), c.weight.floats(), c.bias.floats(), kEpsilon, 3, 37, c.y.data(), c.mean.floats(),
                  c.inverse.floats());
  layer_norm_rows_backward(type(), c.g.data(), c.x.data(), c.weight.floats(), c.mean.floats(), c.inverse.floats(), 3, 37, dx.data(),
                           nullptr, nullptr);
  layer_norm_rows_backward(type(), c.g.data(), c.x.data(), c.weight.floats(), c.mean.floats(), c.inverse.floats(), 3, 37, again.data(),
                           dweight.floats(), dbias.floats());
  EXPECT_TRUE(dx == again);
}

TEST_P(NormRows, OutputsMayLieWhereInputsDo) {
  NormCase c(type(), 3, 37, 3);
  auto dweight = Buffer::normal(Element::kFloat32, 37, 6), dweight_again = dweight;
  auto sum = c.x, g = c.g;
  add_rms_norm_rows(type(), c.x.data(), c.beside.data(), c.weight.floats(), kEpsilon, 3, 37, c.sum.data(), c.y.data(), c.inverse.floats());
  add_rms_norm_rows(type(), sum.data(), c.beside.data(), c.weight.floats(), kEpsilon, 3, 37, sum.data(), c.y.data(), c.inverse.floats());
  EXPECT_TRUE(sum == c.sum);
  Buffer dx(type(), 111);
  const std::array<const void*, 1> apart{c.g.data()}, together{g.data()};
  rms_norm_rows_backward(type(), c.backward(apart, dx, &dweight));
  rms_norm_rows_backward(type(), c.backward(together, g, &dweight_again));
  EXPECT_TRUE(dx == g && dweight == dweight_again);
}

TEST_P(NormRows, ZerosBecomeZeroAndTheBias) {
  NormCase c(type(), 2, 37, 1);
  for (int64_t i = 0; i < 74; ++i) c.x.set(i, 0.0f);
  rms_norm_rows(type(), c.x.data(), c.weight.floats(), 1e-6f, 2, 37, c.y.data(), c.inverse.floats());
  for (int64_t i = 0; i < 74; ++i) EXPECT_EQ(c.y[i], 0.0);
  layer_norm_rows(type(), c.x.data(), c.weight.floats(), c.bias.floats(), 1e-6f, 2, 37, c.y.data(), c.mean.floats(), c.inverse.floats());
  for (int64_t i = 0; i < 74; ++i) EXPECT_NEAR(c.y[i], c.bias[i % 37], unit() * std::abs(c.bias[i % 37]));
}

TEST_P(NormRows, NotANumberIsNotSwallowed) {
  for (const int64_t place : {0, 7, 31, 36}) {
    NormCase c(type(), 1, 37, 1);
    c.x.set(place, std::numeric_limits<float>::quiet_NaN());
    rms_norm_rows(type(), c.x.data(), c.weight.floats(), kEpsilon, 1, 37, c.y.data(), c.inverse.floats());
    for (int64_t i = 0; i < 37; ++i) EXPECT_TRUE(std::isnan(c.y[i])) << i;
    layer_norm_rows(type(), c.x.data(), c.weight.floats(), c.bias.floats(), kEpsilon, 1, 37, c.y.data(), c.mean.floats(),
                    c.inverse.floats());
    for (int64_t i = 0; i < 37; ++i) EXPECT_TRUE(std::isnan(c.y[i])) << i;
  }
}

TEST_P(NormRows, Bf16IsRoundedToNearestEven) {
  if (type() == Element::kFloat32) return;
  // A row of ones has the norm 1, so that y is the weight, rounded.
  constexpr int64_t n = 70001;
  std::mt19937 random(1);
  Buffer x(type(), n), weight(Element::kFloat32, n), y(type(), n), inverse(Element::kFloat32, 1);
  for (int64_t i = 0; i < n; ++i) x.set(i, 1.0f), weight.set(i, std::bit_cast<float>(static_cast<uint32_t>(random())));
  const uint32_t special[] = {0x7fffffffu, 0xffffffffu, 0x7f800001u, 0x7fc00000u, 0x7f800000u, 0xff800000u, 0x7f7fffffu, 0x00000001u,
                              0x80000000u, 0x3f808000u, 0x3f818000u, 0x3f808001u, 0x007fffffu, 0xc0200000u};
  for (const int64_t begin : {int64_t{0}, n - 16})
    for (size_t i = 0; i < std::size(special); ++i) weight.set(begin + static_cast<int64_t>(i), std::bit_cast<float>(special[i]));
  rms_norm_rows(type(), x.data(), weight.floats(), 0.0f, 1, n, y.data(), inverse.floats());
  ASSERT_EQ(inverse[0], 1.0);
  for (int64_t i = 0; i < n; ++i) {
    const float expected = bfloat16_to_float(float_to_bfloat16(weight.floats()[i]));
    ASSERT_TRUE(std::isnan(expected) ? std::isnan(y[i]) : y[i] == expected) << i << ": " << y[i] << " for " << expected;
  }
}

}  // namespace
}  // namespace graft::kernels
