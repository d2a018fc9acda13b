#include "kernels/packed_linear/packed_linear.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/base/error.h"
#include "kernels/packed_linear/variants.h"
#include "kernels/tiles/aligned_buffer.h"
#include "tests/kernels/packed_linear/problems.h"

namespace graft::kernels {
namespace {

void check_linear(const LinearCase& c) {
  LinearProblem problem(c);
  const auto expected = problem.run(detail::packed_linear_reference);
  for (const auto& variant : detail::packed_linear_variants()) {
    if (!variant.supported()) continue;
    const auto got = problem.run(variant.linear);
    expect_close(got, expected, c.rows, c.out, problem.y.stride, c.in + c.rank + 2, std::string(variant.name) + " " + name_of(c));
  }
}

TEST(PackedLinear, EveryVariantGivesTheProductForAllSizesAroundATile) {
  for (const int64_t rows : {0, 1, 15, 16, 17, 31, 32, 33, 63}) {
    for (const int64_t in : {0, 1, 2, 15, 31, 32, 33, 63, 97}) {
      for (const int64_t out : {0, 1, 15, 16, 17, 31, 32, 33, 97}) {
        const bool odd = (rows + in + out) % 2 == 1;
        check_linear({.rows = rows, .in = in, .out = out, .gap = in % 3 * 5, .rank = 0, .bias = odd, .accumulate = !odd});
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(PackedLinear, EveryVariantGivesTheProductForTheShapesOfModels) {
  for (const auto& c : {LinearCase{100, 576, 100, 0, 16}, {33, 576, 160}, {50, 1536, 70, 8, 16, true}, {129, 896, 40, 0, 0, false, true},
                        {40, 2048, 40}, {3, 4864, 70}, {67, 1023, 35, 1025}, {35, 4000, 100, 4}}) {
    check_linear(c);
    if (HasFatalFailure()) return;
  }
}

TEST(PackedLinear, RowsOfALargeProductAreRight) {
  const LinearCase c{.rows = 530, .in = 2080, .out = 1100, .rank = 16, .bias = true};  // more than one block of everything
  LinearProblem problem(c);
  const auto got = problem.run(packed_linear);
  for (const int64_t row : {0, 31, 300, 511, 512, 529}) {
    auto expected = problem.y.values;
    PackedLinear p = problem.p;
    p.rows = 1, p.x += row * p.x_stride, p.down += row * p.down_stride, p.y = expected.data();
    detail::packed_linear_reference(p);
    const std::vector<uint16_t> line(got.begin() + row * p.y_stride, got.begin() + (row + 1) * p.y_stride);
    expect_close(line, expected, 1, c.out, c.out, c.in + c.rank + 2, "row " + std::to_string(row));
  }
}

TEST(PackedLinear, LowRankTermsOfAnyRankAreAdded) {
  for (const int64_t rank : {1, 8, 16, 31, 32, 33, 64, 100, 1024}) {
    for (const int64_t rows : {1, 17, 40}) {
      for (const int64_t in : {0, 32, 40}) {
        check_linear({.rows = rows, .in = in, .out = 70, .gap = rank % 2 * 3, .rank = rank, .bias = rows == 17, .accumulate = rows == 40});
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(PackedLinear, FactorsMayBeFp32TransposedAndScaled) {
  for (const int64_t rank : {1, 8, 33}) {
    LinearProblem problem({.rows = 20, .in = 40, .out = 50, .rank = rank});
    const auto values = random_floats(50 * rank, 9);
    for (const bool transposed : {false, true}) {
      problem.p.up = {.fp32 = values.data(), .row_stride = transposed ? 1 : rank, .column_stride = transposed ? 50 : 1, .scale = 2.0f};
      const auto expected = problem.run(detail::packed_linear_reference);
      for (const auto& variant : detail::packed_linear_variants()) {
        if (!variant.supported()) continue;
        expect_close(problem.run(variant.linear), expected, 20, 50, problem.y.stride, 40 + 2 * rank, std::string(variant.name));
      }
    }
  }
}

TEST(PackedLinear, BitsDoNotDependOnThreadsRowsOrTheRun) {
  const int most = omp_get_max_threads();
  for (const auto& c : {LinearCase{70, 1100, 100, 0, 16, true}, {70, 600, 40}, {2, 1200, 300}}) {
    for (const auto& variant : detail::packed_linear_variants()) {
      if (!variant.supported()) continue;
      LinearProblem problem(c);
      omp_set_num_threads(1);
      const auto alone = problem.run(variant.linear);
      omp_set_num_threads(2);
      for (int run = 0; run < 3; ++run) EXPECT_EQ(problem.run(variant.linear), alone) << variant.name << " " << name_of(c);
      problem.p.rows = 1;  // the first row by itself
      const auto first = problem.run(variant.linear);
      EXPECT_TRUE(std::equal(first.begin(), first.begin() + c.out, alone.begin())) << variant.name << " " << name_of(c);
    }
  }
  omp_set_num_threads(most);
}

TEST(PackedLinear, StreamedResultsAreTheSameBits) {
  for (const int64_t out : {64, 100}) {
    LinearProblem problem({.rows = 70, .in = 96, .out = out, .bias = true});
    problem.p.y_stride = 128;
    for (const auto& variant : detail::packed_linear_variants()) {
      if (!variant.supported()) continue;
      std::vector<uint16_t> results[2];
      for (const bool stream : {false, true}) {
        AlignedBuffer<uint16_t> y(70 * 128);  // whole cache lines, so that they can be streamed
        std::fill_n(y.data(), 70 * 128, kUntouched);
        problem.p.y = y.data();
        problem.p.stream_y = stream;
        variant.linear(problem.p);
        results[stream ? 1 : 0].assign(y.data(), y.data() + 70 * 128);
      }
      EXPECT_EQ(results[0], results[1]) << variant.name << " " << out;
    }
  }
}

TEST(PackedLinear, NothingBehindTheEndIsTouched) {
  for (const auto& c : {LinearCase{1, 1, 1, 0, 1}, {3, 31, 5, 2, 5}, {17, 32, 33, 0, 16}, {33, 100, 70, 3, 33}, {64, 64, 64, 0, 32, false, true},
                        {35, 1100, 40, 0, 8, false, true}, {9, 1024, 30, 0, 3}, {2, 96, 31, 7, 1}}) {
    LinearProblem problem(c);
    const auto expected = problem.run(detail::packed_linear_reference);
    Guarded x(problem.x.values), weight(problem.weight), down(problem.down.values), up(problem.up.values), source(problem.w.values);
    const std::vector<uint16_t> floats(static_cast<size_t>(2 * std::max(c.in, c.out) * c.rank)), narrow(static_cast<size_t>(c.rows * c.rank));
    Guarded gradient(floats), packed_again(problem.weight);
    for (const auto& variant : detail::packed_linear_variants()) {
      if (!variant.supported()) continue;
      Guarded y(problem.y.values);
      PackedLinear p = problem.p;
      p.x = x.data(), p.weight = weight.data(), p.down = down.data(), p.up.bf16 = up.data(), p.y = y.data();
      variant.linear(p);
      const std::vector<uint16_t> got(y.data(), y.data() + expected.size());
      expect_close(got, expected, c.rows, c.out, problem.y.stride, c.in + c.rank + 2, std::string(variant.name) + " " + name_of(c));
      variant.pack({source.data(), problem.w.stride, 0, c.out}, c.out, c.in, packed_again.data());
      EXPECT_TRUE(std::equal(problem.weight.begin(), problem.weight.end(), packed_again.data())) << variant.name;
      variant.pack_transposed({source.data(), problem.w.stride, 0, c.out}, c.out, c.in, packed_again.data());
      // The weight serves as a small factor here, the other way round: (rank, out) values in the memory of `up`.
      Guarded result(narrow);
      NarrowProduct n{.rows = c.rows, .in = c.out, .rank = c.rank, .x = y.data(), .x_stride = problem.y.stride};
      n.a = {.bf16 = up.data(), .row_stride = 1, .column_stride = problem.up.stride}, n.down = result.data(), n.down_stride = c.rank;
      variant.narrow(n);
      FactorGradient g{.rows = c.rows, .rank = c.rank, .columns = c.in, .narrow = down.data(), .narrow_stride = problem.down.stride};
      g.wide = x.data(), g.wide_stride = problem.x.stride;
      for (const bool transposed : {false, true}) {
        g.transposed = transposed, g.out_stride = transposed ? c.rank : c.in;
        g.out = gradient.floats() + static_cast<int64_t>(floats.size()) / 2 - c.in * c.rank;
        variant.gradient(g);
      }
    }
  }
}

TEST(PackedLinear, PackingGivesTheSameOrderEverywhere) {
  for (const int64_t out : {1, 15, 31, 32, 33, 97, 200}) {
    for (const int64_t in : {1, 2, 17, 31, 32, 33, 63, 100}) {
      Matrix w(out, in, in % 4, 8);
      std::vector<uint16_t> expected(static_cast<size_t>(packed_weight_size(out, in))), expected_transposed(expected);
      detail::pack_weight_reference({w.values.data(), w.stride, 0, out}, out, in, expected.data());
      detail::pack_weight_transposed_reference({w.values.data(), w.stride, 0, out}, out, in, expected_transposed.data());
      for (const auto& variant : detail::packed_linear_variants()) {
        if (!variant.supported()) continue;
        std::vector<uint16_t> got(expected.size(), kUntouched), got_transposed(got);
        for (int64_t first = 0; first < out; first += 64) {  // in parts
          const WeightRows part{w.values.data() + first * w.stride, w.stride, first, std::min<int64_t>(64, out - first)};
          variant.pack(part, out, in, got.data());
          variant.pack_transposed(part, out, in, got_transposed.data());
        }
        ASSERT_EQ(got, expected) << variant.name << " " << out << " " << in;
        ASSERT_EQ(got_transposed, expected_transposed) << variant.name << " " << out << " " << in;
      }
    }
  }
}

TEST(PackedLinear, TheTransposedOrderIsThatOfTheTransposedMatrix) {
  Matrix w(70, 45, 3, 1), transposed(45, 70, 0, 2);
  for (int64_t n = 0; n < 70; ++n) {
    for (int64_t k = 0; k < 45; ++k) transposed.at(k, n) = w.at(n, k);
  }
  std::vector<uint16_t> got(static_cast<size_t>(packed_weight_size(45, 70)));
  pack_weight_transposed({w.values.data(), w.stride, 0, 70}, 70, 45, got.data());
  EXPECT_EQ(got, packed(transposed));
}

TEST(PackedLinear, RoundsToNearestEvenOnce) {
  // 1 + 2^-8 and 1 + 3 * 2^-8 are middles between neighbouring bf16 values: the even ones are 1 and 1 + 2^-6.
  Matrix x(1, 2, 0, 1), w(2, 2, 0, 1);
  x.values = {0x3f80, 0x3f80};
  w.values = {0x3f80, float_to_bfloat16(0x1p-8f), 0x3f80, float_to_bfloat16(3 * 0x1p-8f)};
  const auto weight = packed(w);
  for (const auto& variant : detail::packed_linear_variants()) {
    if (!variant.supported()) continue;
    std::vector<uint16_t> y(2);
    PackedLinear p{.rows = 1, .in = 2, .out = 2, .x = x.values.data(), .x_stride = 2, .weight = weight.data()};
    p.y = y.data(), p.y_stride = 2;
    variant.linear(p);
    EXPECT_EQ(bfloat16_to_float(y[0]), 1.0f) << variant.name;
    EXPECT_EQ(bfloat16_to_float(y[1]), 1.0f + 0x1p-6f) << variant.name;
  }
}

TEST(PackedLinear, WrongUseIsRefused) {
  Matrix w(64, 40, 0, 1), x(4, 40, 0, 2), y(4, 64, 0, 3);
  auto weight = packed(w);
  EXPECT_THROW(pack_weight({w.values.data(), 40, 8, 32}, 64, 40, weight.data()), InvalidArgument);
  EXPECT_THROW(pack_weight({w.values.data(), 40, 0, 20}, 64, 40, weight.data()), InvalidArgument);
  EXPECT_THROW(pack_weight({w.values.data(), 39, 0, 64}, 64, 40, weight.data()), InvalidArgument);
  EXPECT_THROW(pack_weight_transposed({w.values.data(), 40, 32, 64}, 64, 40, weight.data()), InvalidArgument);
  PackedLinear p{.rows = 4, .in = 40, .out = 64, .x = x.values.data(), .x_stride = 40, .weight = weight.data()};
  p.y = y.values.data(), p.y_stride = 64;
  EXPECT_NO_THROW(packed_linear(p));
  const auto refused = [&](auto change, const char* word) {
    auto changed = p;
    change(changed);
    try {
      packed_linear(changed);
      FAIL() << "took a wrong " << word;
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(word));
    }
  };
  refused([](auto& c) { c.x_stride = 39; }, "stride of 39");
  refused([](auto& c) { c.y_stride = 63; }, "stride of 63");
  refused([](auto& c) { c.rows = -1; }, "negative");
  refused([](auto& c) { c.rank = 1025; }, "1025");
  refused([](auto& c) { c.rank = 8, c.down_stride = 8; }, "no values");
  refused([](auto& c) { c.weight = nullptr, c.turned = true; }, "turned");
  FactorGradient g{.rows = 4, .rank = 8, .columns = 40, .narrow = x.values.data(), .narrow_stride = 7};
  EXPECT_THROW(factor_gradient(g), InvalidArgument);
  NarrowProduct n{.rows = 4, .in = 40, .rank = 2000};
  EXPECT_THROW(narrow_product(n), InvalidArgument);
}

/// Rows of a bf16 matrix as a weight that is stored elsewhere.
void copy_part(const void* weight, const StoredWeight::Part& part, uint16_t* to, int64_t stride) {
  const auto& matrix = *static_cast<const Matrix*>(weight);
  for (int64_t row = 0; row < part.rows; ++row)
    std::copy_n(matrix.values.data() + (part.row + row) * matrix.stride + part.column, part.columns, to + row * stride);
}

TEST(PackedLinear, AStoredWeightGivesTheBitsOfThePackedOne) {
  for (const auto& c : {LinearCase{33, 31, 97, 3, 5, true}, {100, 576, 100, 0, 16}, {70, 896, 40}, {40, 1600, 530, 0, 16}, {2100, 1536, 70},
                        {3, 4864, 70}, {50, 256, 1}, {1, 64, 33}}) {
    LinearProblem problem(c);
    Matrix turned(c.in, c.out, c.gap, 0);
    for (int64_t row = 0; row < c.in; ++row)
      for (int64_t column = 0; column < c.out; ++column) turned.at(row, column) = problem.w.at(column, row);
    for (const auto& variant : detail::packed_linear_variants()) {
      constexpr int64_t kTooSlow = 1 << 22;
      if (!variant.supported() || (variant.name == "portable" && c.rows * c.in * c.out > kTooSlow)) continue;
      const auto expected = problem.run(variant.linear);
      auto stored = problem.p;
      stored.weight = nullptr;
      for (const int64_t unit : {32, 64, 256})
        for (const bool transposed : {false, true}) {
          stored.stored = {.weight = transposed ? &turned : &problem.w, .expand = copy_part, .column_unit = unit, .transposed = transposed};
          auto result = problem.y.values;
          stored.y = result.data();
          variant.linear(stored);
          EXPECT_EQ(result, expected) << variant.name << " " << name_of(c) << ", unit " << unit << (transposed ? ", transposed" : "");
        }
    }
  }
}

TEST(PackedLinear, AWeightPackedForOneSideServesTheOther) {
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{33, 97}, {576, 192}, {1, 64}, {70, 1600}, {160, 33}, {48, 32}}) {
    LinearProblem problem({.rows = 40, .in = out, .out = in, .rank = 3});  // dx = g W: its own `in` is W's out
    std::vector<uint16_t> straight(static_cast<size_t>(packed_weight_size(out, in)));
    Matrix turned(out, in, 5, 0);
    for (int64_t row = 0; row < out; ++row)
      for (int64_t column = 0; column < in; ++column) turned.at(row, column) = problem.w.at(column, row);
    pack_weight({turned.values.data(), turned.stride, 0, out}, out, in, straight.data());
    for (const auto& variant : detail::packed_linear_variants()) {
      if (!variant.supported()) continue;
      const auto expected = problem.run(variant.linear);
      auto other_side = problem.p;
      other_side.weight = straight.data(), other_side.turned = true;
      auto result = problem.y.values;
      other_side.y = result.data();
      variant.linear(other_side);
      EXPECT_EQ(result, expected) << variant.name << " " << out << " x " << in;
      result = problem.y.values;
      detail::packed_linear_reference(other_side);
      EXPECT_EQ(result, problem.run(detail::packed_linear_reference)) << out << " x " << in;
    }
  }
}

}  // namespace
}  // namespace graft::kernels
