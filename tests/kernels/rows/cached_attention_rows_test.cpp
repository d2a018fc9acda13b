#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>

#include "kernels/base/error.h"
#include "kernels/rows/cached_attention_rows.h"
#include "kernels/rows/rows_reference.h"
#include "tests/kernels/rows/row_buffers.h"

namespace graft::kernels {
namespace {

class CachedAttentionRows : public RowKernels {};
GRAFT_EVERY_ROW_CASE(CachedAttentionRows);

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Operands whose rows have a gap behind them, and whose last row ends where the memory does.
class Operands {
 public:
  Operands(const CachedAttention& shape, Element type)
      : shape_(shape), q_(rows(type, shape.queries, shape.heads, 1)), k_(rows(type, shape.keys, shape.key_heads, 2)),
        v_(rows(type, shape.keys, shape.key_heads, 3)), out_(rows(type, shape.queries, shape.heads, 4)) {
    shape_.type = type;
    shape_.q_stride = shape_.out_stride = shape.heads * shape.width + kGap;
    shape_.k_stride = shape_.v_stride = shape.key_heads * shape.width + kGap;
  }

  CachedAttention problem(Buffer& out) {
    auto p = shape_;
    p.q = q_.data(), p.k = k_.data(), p.v = v_.data(), p.out = out.data();
    return p;
  }
  Buffer computed() {
    auto out = out_;
    cached_attention_rows(problem(out));
    return out;
  }
  Buffer expected() {
    auto out = out_;
    cached_attention_rows_reference(problem(out));
    return out;
  }
  void spoil_key(int64_t key) {
    for (Buffer* of : {&k_, &v_}) of->set(key * shape_.k_stride, kNan);
  }

 private:
  static constexpr int64_t kGap = 3;
  Buffer rows(Element type, int64_t count, int64_t heads, uint32_t seed) const {
    const int64_t row = heads * shape_.width;
    return Buffer::normal(type, count == 0 ? 0 : (count - 1) * (row + kGap) + row, seed);
  }

  CachedAttention shape_;
  Buffer q_, k_, v_, out_;
};

std::vector<CachedAttention> shapes() {
  std::vector<CachedAttention> all;
  const auto add = [&](int64_t queries, int64_t keys, int64_t heads, int64_t key_heads, int64_t width) {
    for (const bool causal : {true, false})
      for (const int64_t window : {0, 1, 5, 64}) {
        if (!causal && window > 0) continue;
        all.push_back({.queries = queries, .keys = keys, .heads = heads, .key_heads = key_heads, .width = width, .causal = causal,
                       .window = window, .scale = 1 / std::sqrt(static_cast<float>(width))});
      }
  };
  for (const int64_t width : {1, 8, 15, 16, 17, 24, 40, 64, 80, 96, 128, 256}) add(2, 37, 4, 2, width);
  for (const int64_t keys : {1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 127, 300, 1999}) add(1, keys, 9, 3, 64);
  add(0, 0, 4, 2, 16), add(0, 5, 4, 2, 16), add(3, 3, 14, 2, 64), add(8, 40, 8, 1, 32), add(1, 33, 4, 4, 64);
  return all;
}

/// Norms of rows of D normal numbers stay below √D + 5, so scaled products below their square over √D. The error of a score is that of its
/// sum; a weight errs as much as its score, its exponential and the sum that it is divided by; the values stay below 6.
double attention_error(const CachedAttention& p) {
  const double root = std::sqrt(static_cast<double>(p.width)), largest = (root + 5) * (root + 5) / root;
  const double score = (sum_error(root) + 4 * kUnit) * largest;
  return 6 * (2 * score + 2 * sum_error(std::sqrt(static_cast<double>(p.keys))) + 8 * kUnit);
}

TEST_P(CachedAttentionRows, EqualsItsReference) {
  for (const auto& shape : shapes()) {
    Operands operands(shape, type());
    const auto expected = operands.expected();
    expect_close(operands.computed(), expected, within(expected, unit(), attention_error(shape)),
                 std::to_string(shape.queries) + " of " + std::to_string(shape.keys) + ", width " + std::to_string(shape.width));
  }
}

TEST_P(CachedAttentionRows, WhatNoQuerySeesChangesNothing) {
  const CachedAttention shape{.queries = 2, .keys = 40, .heads = 4, .key_heads = 2, .width = 24, .window = 8, .scale = 0.2f};
  Operands whole(shape, type()), spoilt(shape, type());
  for (int64_t key = 0; key < 40 - 9; ++key) spoilt.spoil_key(key);
  EXPECT_EQ(spoilt.computed(), whole.computed());
  spoilt.spoil_key(40 - 9);  // the first query's oldest
  const auto out = spoilt.computed();
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_FALSE(std::isnan(out[4 * 24 + 3])) << "the second query does not see it";
}

TEST_P(CachedAttentionRows, TheBytesAreTheSameForEveryNumberOfThreads) {
  const int threads = omp_get_max_threads();
  Operands operands({.queries = 2, .keys = 700, .heads = 9, .key_heads = 3, .width = 64, .scale = 0.125f}, type());
  omp_set_num_threads(1);
  const auto alone = operands.computed();
  for (const int count : {2, 3, threads}) {
    omp_set_num_threads(count);
    EXPECT_EQ(operands.computed(), alone) << count;
  }
  omp_set_num_threads(threads);
}

TEST_P(CachedAttentionRows, ScoresFarApartNeitherOverflowNorVanish) {
  for (const float scale : {1e-6f, 30.0f, 1e4f}) {
    Operands operands({.queries = 1, .keys = 200, .heads = 4, .key_heads = 2, .width = 64, .scale = scale}, type());
    const auto out = operands.computed();
    for (int64_t i = 0; i < out.size(); ++i) ASSERT_LT(std::abs(out[i]), 6) << scale;  // averages of values between -6 and 6
  }
}

TEST(CachedAttention, ShapesThatDoNotFitAreRefused) {
  const CachedAttention good{.queries = 1, .keys = 2, .heads = 4, .key_heads = 2, .width = 8, .q_stride = 32, .k_stride = 16, .v_stride = 16, .out_stride = 32};
  const auto refused = [&](auto change) {
    auto p = good;
    change(p);
    EXPECT_THROW(cached_attention_rows(p), InvalidArgument);
  };
  refused([](auto& p) { p.queries = 3; });
  refused([](auto& p) { p.key_heads = 3; });
  refused([](auto& p) { p.width = 0; });
  refused([](auto& p) { p.scale = 0; });
  refused([](auto& p) { p.window = -1; });
  refused([](auto& p) { p.out_stride = 31; });
  refused([](auto& p) { p.v_stride = 15; });
}

}  // namespace
}  // namespace graft::kernels
