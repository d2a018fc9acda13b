#include <gtest/gtest.h>

#include <limits>

#include "kernels/rows/attention_rows.h"
#include "kernels/rows/rows_reference.h"
#include "kernels/rows/softmax_block_rows.h"
#include "tests/kernels/rows/row_buffers.h"

namespace graft::kernels {
namespace {

class SoftmaxRows : public RowKernels {};
GRAFT_EVERY_ROW_CASE(SoftmaxRows);

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

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
double softmax_error(int64_t keys, double largest_argument) {
  const auto n = static_cast<double>(keys);
  return 4 * kUnit * (largest_argument + std::log(n)) + sum_error(std::sqrt(n)) + 8 * kUnit;
}

TEST_P(SoftmaxRows, SoftmaxEqualsItsReference) {
  for (const auto& block : attention_blocks()) {
    auto tested = Buffer::normal(type(), block.groups * block.queries * block.keys, 1, 2.0f), expected = tested;
    Buffer lse(Element::kFloat32, block.groups * block.queries), expected_lse = lse;
    softmax_rows(type(), block, tested.data(), lse.floats());
    softmax_rows_reference(type(), block, expected.data(), expected_lse.floats());
    const double fp32 = softmax_error(block.keys, 0.7 * 2 * 5);
    expect_close(tested, expected, within(expected, fp32 + unit(), 1e-37), "softmax");
    expect_close(lse, expected_lse, [&](int64_t) { return fp32; }, "log sum");
  }
}

TEST_P(SoftmaxRows, SoftmaxBackwardEqualsItsReference) {
  for (const auto& block : attention_blocks()) {
    const int64_t rows = block.groups * block.queries;
    auto p = Buffer::normal(type(), rows * block.keys, 1, 2.0f), expected_p = p, scores = p;
    auto g = Buffer::normal(type(), rows * block.keys, 2), expected_g = g, upstream = g;
    auto delta = Buffer::normal(Element::kFloat32, rows, 3);
    Buffer lse(Element::kFloat32, rows);
    softmax_rows_reference(type(), block, scores.data(), lse.floats());
    softmax_rows_backward(type(), block, lse.floats(), delta.floats(), p.data(), g.data());
    softmax_rows_backward_reference(type(), block, lse.floats(), delta.floats(), expected_p.data(), expected_g.data());
    const double fp32 = softmax_error(block.keys, 0.7 * 2 * 5);
    expect_close(p, expected_p, within(expected_p, fp32 + unit(), 1e-37), "probabilities");
    expect_close(g, expected_g, [&](int64_t i) {
      const double terms = block.scale * (std::abs(upstream[i]) + std::abs(delta[i / block.keys]));
      return unit() * std::abs(expected_g[i]) + (fp32 + 4 * kUnit) * terms * (expected_p[i] * 1.01 + 1e-37);
    }, "gradient");
  }
}

TEST_P(SoftmaxRows, SoftmaxOfHugeScoresDoesNotOverflow) {
  const AttentionBlock block{.groups = 1, .queries = 1, .keys = 4, .causal = false, .scale = 1.0f};
  Buffer scores(type(), 4), lse(Element::kFloat32, 1);
  const float values[] = {32768.0f, 32768.0f, -32768.0f, 0.0f};
  for (int64_t i = 0; i < 4; ++i) scores.set(i, values[i]);
  softmax_rows(type(), block, scores.data(), lse.floats());
  EXPECT_EQ(scores[0], 0.5);
  EXPECT_EQ(scores[1], 0.5);
  EXPECT_EQ(scores[2], 0.0);
  EXPECT_EQ(scores[3], 0.0);
}

TEST_P(SoftmaxRows, InfiniteScoresBehaveAsInTheReference) {
  const AttentionBlock block{.groups = 1, .queries = 1, .keys = 37, .causal = false, .scale = 1.0f};
  for (const float value : {kInfinity, -kInfinity, kNan})
    for (const int64_t place : {0, 7, 31, 36}) {
      auto scores = Buffer::normal(type(), 37, 1), expected = scores;
      scores.set(place, value), expected.set(place, value);
      Buffer lse(Element::kFloat32, 1), expected_lse = lse;
      softmax_rows(type(), block, scores.data(), lse.floats());
      softmax_rows_reference(type(), block, expected.data(), expected_lse.floats());
      expect_close(scores, expected, within(expected, softmax_error(37, 5) + unit()), "place " + std::to_string(place));
      if (value == -kInfinity) {
        EXPECT_EQ(scores[place], 0.0);
        EXPECT_NEAR(lse[0], expected_lse[0], softmax_error(37, 5));
      } else {
        EXPECT_TRUE(std::isnan(scores[0]) && std::isnan(scores[36]));
      }
    }
}

// With a log sum of 0 the way back writes exp(score) itself.
TEST_P(SoftmaxRows, ExponentialIsGoodTo3e7OverItsRange) {
  if (type() == Element::kBFloat16) return;
  constexpr int64_t n = 472973;
  Buffer x(type(), n), g(type(), n), zero(Element::kFloat32, 1);
  for (int64_t i = 0; i < n; ++i) x.set(i, -87.0f + static_cast<float>(i) * 0.00037f);
  auto e = x;
  softmax_rows_backward(type(), {.groups = 1, .queries = 1, .keys = n, .causal = false}, zero.floats(), zero.floats(), e.data(), g.data());
  double worst = 0;
  for (int64_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(e[i] / std::exp(x[i]) - 1));
  EXPECT_LT(worst, 3e-7);
}

TEST_P(SoftmaxRows, ExponentialStaysFiniteBeyondItsRange) {
  Buffer x(type(), 5), g(type(), 5), zero(Element::kFloat32, 1);
  const float values[] = {-1e30f, 1e30f, kNan, -kInfinity, -89.0f};
  for (int64_t i = 0; i < 5; ++i) x.set(i, values[i]);
  softmax_rows_backward(type(), {.groups = 1, .queries = 1, .keys = 5, .causal = false}, zero.floats(), zero.floats(), x.data(), g.data());
  EXPECT_EQ(x[0], 0.0);
  EXPECT_TRUE(std::isfinite(x[1]) && x[1] > 1e38);
  EXPECT_TRUE(std::isnan(x[2]));
  EXPECT_EQ(x[3], 0.0);
  EXPECT_EQ(x[4], 0.0);
}

/// Logits of a whole vocabulary and what the blocks make of them.
struct Vocabulary {
  int64_t rows, words;
  std::vector<int64_t> targets;
  Buffer top, sum, target, rescale;

  Vocabulary(int64_t row_count, int64_t word_count)
      : rows(row_count), words(word_count), targets(static_cast<size_t>(rows)), top(Element::kFloat32, rows), sum(top), target(top),
        rescale(top) {
    std::mt19937 random(3);
    for (auto& t : targets) t = static_cast<int64_t>(random() % static_cast<uint32_t>(std::max<int64_t>(1, words)));
    if (rows > 2) targets[1] = -100;  // a place without a target
    for (int64_t r = 0; r < rows; ++r) top.set(r, -kInfinity);
  }
  RunningSoftmax running() { return {top.floats(), sum.floats(), target.floats()}; }
};

TEST_P(SoftmaxRows, AbsorbingABlockEqualsItsReference) {
  for (const int64_t rows : {0, 1, 5})
    for (const int64_t count : row_sizes()) {
      Vocabulary tested(rows, 3 * count), expected(rows, 3 * count);
      const int64_t stride = count + 3;
      for (int64_t part = 0; part < 3; ++part) {
        // The tops rise, fall and stay.
        auto logits = Buffer::normal(type(), std::max<int64_t>(0, rows * stride - 3), static_cast<uint32_t>(part), 1.0f + static_cast<float>(part % 2));
        auto wanted = logits, before = logits;
        const VocabularyBlock block{.rows = rows, .count = count, .stride = stride, .first = part * count};
        absorb_logits(type(), block, logits.data(), tested.targets.data(), tested.running(), tested.rescale.floats());
        absorb_logits_reference(type(), block, wanted.data(), expected.targets.data(), expected.running(), expected.rescale.floats());
        const double fp32 = softmax_error(count + 1, 10);
        const auto what = std::to_string(rows) + " x " + std::to_string(count) + ", block " + std::to_string(part);
        expect_close(logits, wanted, within(wanted, fp32 + unit()), what);
        EXPECT_TRUE(tested.top == expected.top && tested.target == expected.target) << what;
        expect_close(tested.rescale, expected.rescale, within(expected.rescale, 2 * kUnit * 10), "rescale " + what);
        expect_close(tested.sum, expected.sum, within(expected.sum, 3 * fp32), "sum " + what);
        for (int64_t r = 0; r + 1 < rows; ++r)  // what lies between rows is nobody's
          for (int64_t i = r * stride + count; i < (r + 1) * stride; ++i) EXPECT_EQ(logits[i], before[i]);
      }
    }
}

TEST_P(SoftmaxRows, BlocksTogetherAreTheWholeSoftmax) {
  constexpr int64_t rows = 67, words = 1009, block_words = 300;
  const auto whole = Buffer::normal(type(), rows * words, 1, 3.0f);
  Vocabulary state(rows, words);
  for (int64_t begin = 0; begin < words; begin += block_words) {
    auto logits = whole;
    const VocabularyBlock block{.rows = rows, .count = std::min(block_words, words - begin), .stride = words, .first = begin};
    absorb_logits(type(), block, static_cast<unsigned char*>(logits.data()) + begin * (type() == Element::kFloat32 ? 4 : 2),
                  state.targets.data(), state.running(), state.rescale.floats());
  }
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (int64_t k = 0; k < words; ++k) sum += std::exp(whole[r * words + k]);
    EXPECT_NEAR(state.top[r] + std::log(state.sum[r]), std::log(sum), 4 * softmax_error(words, 15));
    const int64_t target = state.targets[static_cast<size_t>(r)];
    EXPECT_EQ(state.target[r], target < 0 ? 0.0 : whole[r * words + target]);
  }
}

TEST_P(SoftmaxRows, AbsorbingSpecialLogits) {
  for (const int64_t place : {0, 20, 36}) {
    const VocabularyBlock block{.rows = 1, .count = 37, .stride = 37, .first = 0};
    for (const float value : {kInfinity, kNan}) {
      Vocabulary state(1, 37);
      auto logits = Buffer::normal(type(), 37, 1);
      logits.set(place, value);
      absorb_logits(type(), block, logits.data(), state.targets.data(), state.running(), state.rescale.floats());
      EXPECT_TRUE(std::isnan(state.sum[0]) && std::isnan(logits[place]));
      auto more = Buffer::normal(type(), 37, 2);
      absorb_logits(type(), block, more.data(), state.targets.data(), state.running(), state.rescale.floats());
      EXPECT_TRUE(std::isnan(state.sum[0])) << "later blocks do not mend it";
    }
    Vocabulary state(1, 37);
    auto logits = Buffer::normal(type(), 37, 1), all_out = logits;
    logits.set(place, -kInfinity);
    for (int64_t i = 0; i < 37; ++i) all_out.set(i, -kInfinity);
    absorb_logits(type(), block, all_out.data(), state.targets.data(), state.running(), state.rescale.floats());
    EXPECT_TRUE(state.sum[0] == 0.0 && state.top[0] == -kInfinity && all_out[0] == 0.0 && all_out[36] == 0.0);
    absorb_logits(type(), block, logits.data(), state.targets.data(), state.running(), state.rescale.floats());
    EXPECT_EQ(state.rescale[0], 0.0);
    EXPECT_EQ(logits[place], 0.0);
    EXPECT_TRUE(std::isfinite(state.sum[0]) && state.sum[0] >= 1.0);
  }
}

TEST_P(SoftmaxRows, RescaleAndAddEqualsItsReference) {
  for (const int64_t rows : {0, 1, 5})
    for (const int64_t n : row_sizes()) {
      auto part = Buffer::normal(type(), rows * n, 1), sum = Buffer::normal(Element::kFloat32, rows * n, 2), expected = sum, before = sum;
      auto rescale = Buffer::normal(Element::kFloat32, rows, 3);
      rescale_and_add(type(), part.data(), rescale.floats(), rows, n, sum.floats());
      rescale_and_add_reference(type(), part.data(), rescale.floats(), rows, n, expected.floats());
      expect_close(sum, expected, [&](int64_t i) {
        return 3 * kUnit * (std::abs(before[i] * rescale[i / n]) + std::abs(part[i]));
      }, std::to_string(n));
    }
}

TEST_P(SoftmaxRows, RescaleByZeroReadsNothing) {
  auto part = Buffer::normal(type(), 37, 1);
  Buffer sum(Element::kFloat32, 37), rescale(Element::kFloat32, 1);
  for (int64_t i = 0; i < 37; ++i) sum.set(i, kNan);
  rescale_and_add(type(), part.data(), rescale.floats(), 1, 37, sum.floats());
  for (int64_t i = 0; i < 37; ++i) EXPECT_EQ(sum[i], part[i]);
}

}  // namespace
}  // namespace graft::kernels
