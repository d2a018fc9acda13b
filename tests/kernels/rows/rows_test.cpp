#include "kernels/rows/rows.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "kernels/rows/attention_rows.h"
#include "kernels/rows/elements.h"
#include "kernels/rows/rows_reference.h"

namespace graft::kernels {
namespace {

// Tolerances. u is the unit roundoff: 2^-24 in fp32, 2^-8 in bf16. Kernel and reference each round their result once, so bf16 results
// differ by 2u at most where the fp32 work before agrees. A sum of n rounded terms errs like a random walk, about √n·u of its terms;
// sum_error allows twice that and eight roundings around it. exp is good to 3e-7, which is 5u.
constexpr double kUnit = 0x1p-24;
constexpr double sum_error(double root_n) { return (2 * root_n + 8) * kUnit; }
double rounding(Element type) { return type == Element::kFloat32 ? kUnit : 2 * 0x1p-8; }

/// n numbers of one element type.
class Buffer {
 public:
  Buffer(Element type, int64_t n) : type_(type), bytes_(static_cast<size_t>(n) * (type == Element::kFloat32 ? 4 : 2)), n_(n) {}
  static Buffer normal(Element type, int64_t n, uint32_t seed, float scale = 1.0f) {
    Buffer buffer(type, n);
    std::mt19937 random(seed);
    std::normal_distribution<float> draw(0.0f, scale);
    for (int64_t i = 0; i < n; ++i) buffer.set(i, draw(random));
    return buffer;
  }

  void* data() { return bytes_.data(); }
  float* floats() { return reinterpret_cast<float*>(bytes_.data()); }
  int64_t size() const { return n_; }
  double operator[](int64_t i) const {
    if (type_ == Element::kFloat32) return reinterpret_cast<const float*>(bytes_.data())[i];
    return detail::load(reinterpret_cast<const detail::Bf16*>(bytes_.data())[i]);
  }
  void set(int64_t i, float value) {
    if (type_ == Element::kFloat32) {
      floats()[i] = value;
    } else {
      detail::store(reinterpret_cast<detail::Bf16*>(bytes_.data())[i], value);
    }
  }
  bool operator==(const Buffer& other) const { return bytes_ == other.bytes_; }

 private:
  Element type_;
  std::vector<unsigned char> bytes_;
  int64_t n_;
};

/// The first element further apart than `bound` of it allows.
void expect_close(const Buffer& actual, const Buffer& expected, const std::function<double(int64_t)>& bound, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  for (int64_t i = 0; i < actual.size(); ++i)
    ASSERT_LE(std::abs(actual[i] - expected[i]), bound(i)) << what << ", element " << i << ": " << actual[i] << " for " << expected[i];
}

class RowKernels : public ::testing::TestWithParam<Element> {
 protected:
  Element type() const { return GetParam(); }
  double unit() const { return rounding(type()); }
  /// |expected| relative, plus an absolute part.
  std::function<double(int64_t)> within(const Buffer& expected, double relative, double absolute = 0) const {
    return [&expected, relative, absolute](int64_t i) { return relative * std::abs(expected[i]) + absolute; };
  }
};
INSTANTIATE_TEST_SUITE_P(Types, RowKernels, ::testing::Values(Element::kFloat32, Element::kBFloat16), [](const auto& instance) {
  return instance.param == Element::kFloat32 ? "fp32" : "bf16";
});

struct RmsNormCase {
  Buffer x, weight, y, inverse;

  RmsNormCase(Element type, int64_t rows, int64_t n, uint32_t seed)
      : x(Buffer::normal(type, rows * n, seed)), weight(Buffer::normal(Element::kFloat32, n, seed + 1)), y(type, rows * n),
        inverse(Element::kFloat32, rows) {}
};

TEST_P(RowKernels, RmsNormEqualsItsReference) {
  for (const int64_t rows : {0, 1, 3, 17})
    for (const int64_t n : {1, 2, 7, 31, 64, 127, 577, 4099}) {
      RmsNormCase tested(type(), rows, n, 1), expected(type(), rows, n, 1);
      rms_norm_rows(type(), tested.x.data(), tested.weight.floats(), 1e-5f, rows, n, tested.y.data(), tested.inverse.floats());
      rms_norm_rows_reference(type(), expected.x.data(), expected.weight.floats(), 1e-5f, rows, n, expected.y.data(),
                              expected.inverse.floats());
      const auto what = std::to_string(rows) + " x " + std::to_string(n);
      const double fp32 = sum_error(std::sqrt(n));
      expect_close(tested.inverse, expected.inverse, within(expected.inverse, fp32), "inverse " + what);
      expect_close(tested.y, expected.y, within(expected.y, fp32 + unit()), what);
    }
}

TEST_P(RowKernels, RmsNormBackwardEqualsItsReference) {
  for (const int64_t rows : {0, 1, 3, 17})
    for (const int64_t n : {1, 2, 7, 31, 64, 127, 577, 4099}) {
      RmsNormCase c(type(), rows, n, 3);
      auto g = Buffer::normal(type(), rows * n, 5);
      rms_norm_rows_reference(type(), c.x.data(), c.weight.floats(), 1e-5f, rows, n, c.y.data(), c.inverse.floats());
      Buffer dx(type(), rows * n), expected_dx(type(), rows * n);
      auto dweight = Buffer::normal(Element::kFloat32, n, 6), expected_dweight = dweight;  // added to, not overwritten
      rms_norm_rows_backward(type(), g.data(), c.x.data(), c.weight.floats(), c.inverse.floats(), rows, n, dx.data(), dweight.floats());
      rms_norm_rows_backward_reference(type(), g.data(), c.x.data(), c.weight.floats(), c.inverse.floats(), rows, n,
                                       expected_dx.data(), expected_dweight.floats());

      // dx is a difference of two terms that may cancel: its error is that of the terms.
      std::vector<double> terms(static_cast<size_t>(rows)), columns(static_cast<size_t>(n), 0.0);
      for (int64_t r = 0; r < rows; ++r) {
        double largest = 0, mean = 0, largest_x = 0;
        for (int64_t i = 0; i < n; ++i) {
          const double gw = std::abs(g[r * n + i] * c.weight[i]), x = std::abs(c.x[r * n + i]);
          largest = std::max(largest, gw), largest_x = std::max(largest_x, x), mean += gw * x / static_cast<double>(n);
          columns[static_cast<size_t>(i)] += std::abs(g[r * n + i]) * x * c.inverse[r];
        }
        terms[static_cast<size_t>(r)] = c.inverse[r] * (largest + largest_x * mean * c.inverse[r] * c.inverse[r]);
      }
      const auto what = std::to_string(rows) + " x " + std::to_string(n);
      expect_close(dx, expected_dx, [&](int64_t i) {
        return unit() * std::abs(expected_dx[i]) + sum_error(std::sqrt(n)) * terms[static_cast<size_t>(i / n)];
      }, what);
      expect_close(dweight, expected_dweight, [&](int64_t i) {
        return sum_error(std::sqrt(rows)) * (columns[static_cast<size_t>(i)] + 6);  // 6: what it held before
      }, "weight, " + what);
    }
}

TEST_P(RowKernels, RmsNormBackwardLeavesTheWeightsGradientOutWhereNoneIsAsked) {
  RmsNormCase c(type(), 3, 7, 3);
  Buffer dx(type(), 21), again(type(), 21), dweight(Element::kFloat32, 7);
  rms_norm_rows(type(), c.x.data(), c.weight.floats(), 1e-5f, 3, 7, c.y.data(), c.inverse.floats());
  rms_norm_rows_backward(type(), c.y.data(), c.x.data(), c.weight.floats(), c.inverse.floats(), 3, 7, dx.data(), nullptr);
  rms_norm_rows_backward(type(), c.y.data(), c.x.data(), c.weight.floats(), c.inverse.floats(), 3, 7, again.data(), dweight.floats());
  EXPECT_TRUE(dx == again);
}

TEST_P(RowKernels, RmsNormOfZerosIsZero) {
  RmsNormCase c(type(), 2, 5, 1);
  for (int64_t i = 0; i < 10; ++i) c.x.set(i, 0.0f);
  rms_norm_rows(type(), c.x.data(), c.weight.floats(), 1e-6f, 2, 5, c.y.data(), c.inverse.floats());
  for (int64_t i = 0; i < 10; ++i) EXPECT_EQ(c.y[i], 0.0);
}

constexpr int64_t kFlatSizes[] = {0, 1, 7, 8, 31, 257, 16383, 16384, 16385, 40009};

TEST_P(RowKernels, SwigluEqualsItsReference) {
  for (const int64_t n : kFlatSizes) {
    auto gate = Buffer::normal(type(), n, 1, 3.0f), up = Buffer::normal(type(), n, 2);
    Buffer tested(type(), n), expected(type(), n);
    swiglu_elements(type(), gate.data(), up.data(), n, tested.data());
    swiglu_elements_reference(type(), gate.data(), up.data(), n, expected.data());
    // exp 5u, then one addition, one division, two products.
    expect_close(tested, expected, within(expected, 16 * kUnit + unit()), std::to_string(n));
  }
}

TEST_P(RowKernels, SwigluBackwardEqualsItsReference) {
  for (const int64_t n : kFlatSizes) {
    auto gate = Buffer::normal(type(), n, 1, 3.0f), up = Buffer::normal(type(), n, 2), g = Buffer::normal(type(), n, 3);
    Buffer dgate(type(), n), dup(type(), n), expected_dgate(type(), n), expected_dup(type(), n);
    swiglu_elements_backward(type(), g.data(), gate.data(), up.data(), n, dgate.data(), dup.data());
    swiglu_elements_backward_reference(type(), g.data(), gate.data(), up.data(), n, expected_dgate.data(), expected_dup.data());
    expect_close(dup, expected_dup, within(expected_dup, 16 * kUnit + unit()), "up " + std::to_string(n));
    // 1 + a (1 − s) may cancel; s (1 + |a|) stays below 1 + |a|.
    expect_close(dgate, expected_dgate, [&](int64_t i) {
      return unit() * std::abs(expected_dgate[i]) + 24 * kUnit * std::abs(g[i] * up[i]) * (1 + std::abs(gate[i]));
    }, "gate " + std::to_string(n));
  }
}

TEST_P(RowKernels, SwigluOfHugeGatesIsTheGateOrNothing) {
  Buffer gate(type(), 4), up(type(), 4), product(type(), 4);
  const float gates[] = {1e4f, -1e4f, 300.0f, -300.0f};
  for (int64_t i = 0; i < 4; ++i) gate.set(i, gates[i]), up.set(i, 1.0f);
  swiglu_elements(type(), gate.data(), up.data(), 4, product.data());
  for (const int64_t i : {0, 2}) EXPECT_EQ(product[i], gate[i]);
  for (const int64_t i : {1, 3}) EXPECT_LT(std::abs(product[i]), 1e-30);
}

TEST_P(RowKernels, RotaryEqualsItsReferenceAndTurnsBack) {
  for (const int64_t tokens : {0, 1, 5, 131})
    for (const int64_t heads : {1, 3})
      for (const int64_t width : {2, 6, 64, 130}) {
        const int64_t n = tokens * heads * width;
        auto x = Buffer::normal(type(), n, 1), angle = Buffer::normal(Element::kFloat32, tokens * width / 2, 2, 10.0f);
        auto cosine = angle, sine = angle;
        for (int64_t i = 0; i < angle.size(); ++i)
          cosine.set(i, static_cast<float>(std::cos(angle[i]))), sine.set(i, static_cast<float>(std::sin(angle[i])));
        Buffer tested(type(), n), expected(type(), n), back(type(), n);
        rotate_halves_rows(type(), x.data(), cosine.floats(), sine.floats(), 1.0f, tokens, heads, width, tested.data());
        rotate_halves_rows_reference(type(), x.data(), cosine.floats(), sine.floats(), 1.0f, tokens, heads, width, expected.data());
        // Two products and a sum of numbers below 6 (N(0, 1) at these sizes): 3u of 12.
        expect_close(tested, expected, within(expected, unit(), 36 * kUnit), "forward");
        rotate_halves_rows(type(), tested.data(), cosine.floats(), sine.floats(), -1.0f, tokens, heads, width, back.data());
        // Back again: the first result's rounding (of numbers below 9) comes through both terms, then one more of x.
        expect_close(back, x, [&](int64_t) { return 3 * 9 * unit(); }, "back");
      }
}

std::vector<AttentionBlock> attention_blocks() {
  std::vector<AttentionBlock> blocks;
  for (const int64_t groups : {1, 3})
    for (const int64_t queries : {1, 5, 128})
      for (const int64_t keys : {1, 7, 127, 129, 300}) {
        blocks.push_back({.groups = groups, .queries = queries, .keys = keys, .causal = false, .scale = 0.7f});
        if (keys < queries) continue;
        for (const int64_t window : {0, 1, 5, 64})
          blocks.push_back({.groups = groups, .queries = queries, .keys = keys, .first_position = keys - queries, .causal = true,
                            .window = window, .scale = 0.7f});
      }
  blocks.push_back({.groups = 0, .queries = 4, .keys = 4});
  blocks.push_back({.groups = 2, .queries = 0, .keys = 4});
  return blocks;
}

/// An argument of size M errs by about 2u·M before exp, and log Σ exp is as large; the sum adds its own error.
double softmax_error(const AttentionBlock& block, double largest) {
  return 4 * kUnit * (largest + std::log(static_cast<double>(block.keys))) + sum_error(std::sqrt(block.keys)) + 8 * kUnit;
}

TEST_P(RowKernels, SoftmaxEqualsItsReference) {
  for (const auto& block : attention_blocks()) {
    auto tested = Buffer::normal(type(), block.groups * block.queries * block.keys, 1, 2.0f), expected = tested;
    Buffer lse(Element::kFloat32, block.groups * block.queries), expected_lse = lse;
    softmax_rows(type(), block, tested.data(), lse.floats());
    softmax_rows_reference(type(), block, expected.data(), expected_lse.floats());
    const double fp32 = softmax_error(block, 0.7 * 2 * 5);
    expect_close(tested, expected, within(expected, fp32 + unit(), 1e-37), "softmax");
    expect_close(lse, expected_lse, [&](int64_t) { return fp32; }, "log sum");
  }
}

TEST_P(RowKernels, SoftmaxBackwardEqualsItsReference) {
  for (const auto& block : attention_blocks()) {
    const int64_t rows = block.groups * block.queries;
    auto p = Buffer::normal(type(), rows * block.keys, 1, 2.0f), expected_p = p, scores = p;
    auto g = Buffer::normal(type(), rows * block.keys, 2), expected_g = g, upstream = g;
    auto delta = Buffer::normal(Element::kFloat32, rows, 3);
    Buffer lse(Element::kFloat32, rows);
    softmax_rows_reference(type(), block, scores.data(), lse.floats());
    softmax_rows_backward(type(), block, lse.floats(), delta.floats(), p.data(), g.data());
    softmax_rows_backward_reference(type(), block, lse.floats(), delta.floats(), expected_p.data(), expected_g.data());
    const double fp32 = softmax_error(block, 0.7 * 2 * 5);
    expect_close(p, expected_p, within(expected_p, fp32 + unit(), 1e-37), "probabilities");
    expect_close(g, expected_g, [&](int64_t i) {
      const double terms = block.scale * (std::abs(upstream[i]) + std::abs(delta[i / block.keys]));
      return unit() * std::abs(expected_g[i]) + (fp32 + 4 * kUnit) * terms * (expected_p[i] * 1.01 + 1e-37);
    }, "gradient");
  }
}

TEST_P(RowKernels, SoftmaxOfHugeScoresDoesNotOverflow) {
  const AttentionBlock block{.groups = 1, .queries = 1, .keys = 4, .causal = false, .scale = 1.0f};
  Buffer scores(type(), 4), lse(Element::kFloat32, 1);
  const float values[] = {32768.0f, 32768.0f, -32768.0f, 0.0f};
  for (int64_t i = 0; i < 4; ++i) scores.set(i, values[i]);
  softmax_rows(type(), block, scores.data(), lse.floats());
  // log 2 is lost beside 32768, whose neighbours are 2^-8 apart: the halves are good to that.
  EXPECT_NEAR(scores[0], 0.5, 0x1p-8 + 2 * unit());
  EXPECT_EQ(scores[0], scores[1]);
  EXPECT_LT(scores[2], 1e-37);
  EXPECT_LT(scores[3], 1e-37);
}

TEST_P(RowKernels, NotANumberIsNotSwallowed) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t place : {0, 7, 36}) {
    RmsNormCase norm(type(), 1, 37, 1);
    norm.x.set(place, nan);
    rms_norm_rows(type(), norm.x.data(), norm.weight.floats(), 1e-5f, 1, 37, norm.y.data(), norm.inverse.floats());
    EXPECT_TRUE(std::isnan(norm.y[0]) && std::isnan(norm.y[36]));

    const AttentionBlock block{.groups = 1, .queries = 1, .keys = 37, .causal = false, .scale = 1.0f};
    auto scores = Buffer::normal(type(), 37, 1);
    scores.set(place, nan);
    Buffer lse(Element::kFloat32, 1);
    softmax_rows(type(), block, scores.data(), lse.floats());
    EXPECT_TRUE(std::isnan(scores[0]) && std::isnan(scores[36]));

    auto gate = Buffer::normal(type(), 37, 1), up = gate;
    gate.set(place, nan);
    swiglu_elements(type(), gate.data(), up.data(), 37, up.data());
    EXPECT_TRUE(std::isnan(up[place]));
  }
}

/// Every kernel once, at sizes that are shared between threads.
std::vector<Buffer> everything(Element type) {
  constexpr int64_t rows = 67, n = 577;
  RmsNormCase norm(type, rows, n, 1);
  Buffer dx(type, rows * n), dweight(Element::kFloat32, n), product(type, rows * n), dgate(type, rows * n), dup(type, rows * n);
  rms_norm_rows(type, norm.x.data(), norm.weight.floats(), 1e-5f, rows, n, norm.y.data(), norm.inverse.floats());
  rms_norm_rows_backward(type, norm.y.data(), norm.x.data(), norm.weight.floats(), norm.inverse.floats(), rows, n, dx.data(),
                         dweight.floats());
  swiglu_elements(type, norm.x.data(), norm.y.data(), rows * n, product.data());
  swiglu_elements_backward(type, dx.data(), norm.x.data(), norm.y.data(), rows * n, dgate.data(), dup.data());
  const AttentionBlock block{.groups = 3, .queries = 67, .keys = 192, .first_position = 125, .causal = true, .scale = 0.5f};
  auto scores = Buffer::normal(type, 3 * 67 * 192, 9), again = scores, gradient = scores;
  Buffer lse(Element::kFloat32, 3 * 67);
  softmax_rows(type, block, scores.data(), lse.floats());
  softmax_rows_backward(type, block, lse.floats(), lse.floats(), again.data(), gradient.data());
  Buffer turned(type, 536 * 64);
  rotate_halves_rows(type, norm.x.data(), norm.weight.floats(), norm.weight.floats(), 1.0f, 8, 67, 64, turned.data());
  return {norm.y, norm.inverse, dx, dweight, product, dgate, dup, scores, lse, again, gradient, turned};
}

TEST_P(RowKernels, ResultsAreTheSameForOneAndTwoThreadsAndRunToRun) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto one = everything(type());
  omp_set_num_threads(2);
  const auto two = everything(type()), again = everything(type());
  omp_set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_TRUE(one[i] == two[i]) << "result " << i;
    EXPECT_TRUE(two[i] == again[i]) << "result " << i;
  }
}

TEST(Exponential, IsGoodTo3e7OverItsRange) {
  double worst = 0;
  for (double x = -87.0; x <= 88.0; x += 0.00037) {
    const auto argument = static_cast<float>(x);
    const double expected = std::exp(static_cast<double>(argument));
    worst = std::max(worst, std::abs(detail::exponential(argument) - expected) / expected);
  }
  EXPECT_LT(worst, 3e-7);
}

TEST(Exponential, StaysFiniteBeyondItsRange) {
  EXPECT_LT(detail::exponential(-1e30f), 2e-38f);
  EXPECT_TRUE(std::isfinite(detail::exponential(1e30f)));
  EXPECT_TRUE(std::isnan(detail::exponential(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Bf16, RoundsToNearestEven) {
  const auto rounded = [](float value) {
    detail::Bf16 stored;
    detail::store(stored, value);
    return detail::load(stored);
  };
  EXPECT_EQ(rounded(1.0f + 0x1p-8f), 1.0f);             // half way, even below
  EXPECT_EQ(rounded(1.0f + 3 * 0x1p-8f), 1.0f + 0x1p-6f);  // half way, even above
  EXPECT_EQ(rounded(1.0f + 0x1p-8f + 0x1p-20f), 1.0f + 0x1p-7f);
  EXPECT_EQ(rounded(-2.5f), -2.5f);
  EXPECT_TRUE(std::isinf(rounded(std::numeric_limits<float>::max())));
}

}  // namespace
}  // namespace graft::kernels
