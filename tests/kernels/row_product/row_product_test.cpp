#include "kernels/row_product/row_product.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/base/error.h"
#include "kernels/row_product/variants.h"

namespace graft::kernels {
namespace {

constexpr GgmlType kTypes[] = {GgmlType::kF32,  GgmlType::kF16,  GgmlType::kBF16, GgmlType::kQ8_0, GgmlType::kQ4_0, GgmlType::kQ4_1,
                               GgmlType::kQ5_0, GgmlType::kQ5_1, GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K};

std::vector<float> normal(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw(0.0f, 1.0f);
  std::vector<float> values(static_cast<size_t>(count));
  for (auto& value : values) value = draw(random);
  return values;
}

std::vector<uint16_t> as_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> narrow(values.size());
  std::transform(values.begin(), values.end(), narrow.begin(), float_to_bfloat16);
  return narrow;
}

/// Random bytes in which any 16 bits are a finite half below 2 and any 32 a finite float.
std::vector<std::byte> random_blocks(GgmlType type, int64_t out, int64_t in) {
  const auto layout = block_layout(type);
  std::vector<std::byte> blocks(static_cast<size_t>(out * in) / layout.elements * layout.bytes);
  std::mt19937 random(static_cast<uint32_t>(in));
  const bool plain = layout.elements == 1;
  for (size_t i = 0; i + 2 <= blocks.size(); i += 2) {
    auto bits = static_cast<uint16_t>(random() & 0xbfff);
    if (plain) bits = static_cast<uint16_t>((bits & 0x8fff) | 0x3000);
    std::memcpy(&blocks[i], &bits, 2);
  }
  return blocks;
}

struct Shape {
  int64_t rows, in, out, rank = 0;
  bool bias = false, bf16 = false, up_transposed = false;
};

/// Memory and arguments of one product.
struct Problem {
  std::vector<float> x, down, up, bias, y;
  std::vector<uint16_t> x16, down16, y16;
  std::vector<std::byte> blocks;
  Nf4Weight nf4;
  RowProduct p;

  explicit Problem(const Shape& s)
      : x(normal(s.rows * s.in, 1)), down(normal(s.rows * s.rank, 2)), up(normal(s.out * s.rank, 3)), bias(normal(s.out, 4)),
        y(static_cast<size_t>(s.rows * s.out)), x16(as_bf16(x)), down16(as_bf16(down)), y16(y.size()) {
    p.rows = s.rows, p.in = s.in, p.out = s.out, p.rank = s.rank, p.y_stride = s.out;
    p.x = s.bf16 ? FewRows{.bf16 = x16.data(), .stride = s.in} : FewRows{.fp32 = x.data(), .stride = s.in};
    p.down = s.bf16 ? FewRows{.bf16 = down16.data(), .stride = s.rank} : FewRows{.fp32 = down.data(), .stride = s.rank};
    p.up = up.data(), p.up_scale = 0.5f;
    p.up_row_stride = s.up_transposed ? 1 : s.rank, p.up_column_stride = s.up_transposed ? s.out : 1;
    p.bias = s.bias ? bias.data() : nullptr;
    if (s.bf16) p.y_bf16 = y16.data();
    else p.y_fp32 = y.data();
  }
  void take(GgmlType type) {
    blocks = random_blocks(type, p.out, p.in);
    const auto layout = block_layout(type);
    p.weight = {.type = type, .blocks = blocks.data(), .row_bytes = p.in / static_cast<int64_t>(layout.elements) * static_cast<int64_t>(layout.bytes)};
  }
  void take_nf4() {
    nf4 = quantize_nf4(normal(p.out * p.in, 5));
    p.weight = {.form = RowWeight::Form::kNf4, .nf4 = &nf4};
  }
  std::vector<float> run(void (*product)(const RowProduct&)) {
    if (p.rows > 0 && p.out > 0) product(p);
    if (p.y_fp32 != nullptr) return y;
    std::vector<float> wide(y16.size());
    std::transform(y16.begin(), y16.end(), wide.begin(), bfloat16_to_float);
    return wide;
  }
  /// Largest |weight|, with which a block's scale times its largest code is measured.
  double largest_weight() {
    double largest = 0;
    for (int64_t n = 0; n < p.out && p.in > 0; ++n) {
      std::vector<float> weights(static_cast<size_t>(p.in));
      if (p.weight.form == RowWeight::Form::kBlocks) {
        dequantize_blocks(p.weight.type, {p.weight.blocks + n * p.weight.row_bytes, static_cast<size_t>(p.weight.row_bytes)}, weights);
      } else {
        for (const float scale : nf4.absmax) largest = std::max(largest, static_cast<double>(scale));
        if (nf4.absmax.empty()) largest = 6.0;  // of some thousand normal numbers
      }
      for (const float w : weights) largest = std::max(largest, static_cast<double>(std::fabs(w)));
    }
    return largest;
  }
};

/// A weight is its scale times a code plus an offset, rounded once or twice there and here: off by 2^-23 of the largest weight of its kind
/// at most. The sum of n products rounds n times, like a walk: 2^-22 n of a typical product is generous. bf16 results round once more.
double tolerance(Problem& problem, double expected, double largest_weight) {
  const double products = static_cast<double>(problem.p.in) * largest_weight * 4.5 + static_cast<double>(problem.p.rank) * 10 + 5;
  return products * 0x1p-22 + (problem.p.y_bf16 != nullptr ? std::fabs(expected) * 0x1p-7 : std::fabs(expected) * 0x1p-22);
}

void check(Problem& problem, const std::string& name) {
  const auto expected = problem.run(detail::row_product_reference);
  const double largest = problem.largest_weight();
  for (const auto& variant : detail::row_product_variants()) {
    if (!variant.supported()) continue;
    const auto got = problem.run(variant.product);
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], expected[i], tolerance(problem, expected[i], largest)) << variant.name << ", " << name << ", output " << i;
  }
}

std::string text(const Shape& s) {
  return std::to_string(s.rows) + " x " + std::to_string(s.in) + " -> " + std::to_string(s.out) + ", rank " + std::to_string(s.rank) +
         (s.bf16 ? ", bf16" : ", fp32");
}

TEST(RowProduct, EveryVariantEqualsTheReferenceForEveryFormat) {
  for (const auto type : kTypes) {
    const auto layout = block_layout(type);
    const auto elements = static_cast<int64_t>(layout.elements);
    std::vector<int64_t> lengths = {elements, 2 * elements, 5 * elements};
    if (elements == 1) lengths = {0, 1, 31, 32, 33, 97, 576};
    for (const int64_t in : lengths)
      for (const int64_t out : {0, 1, 15, 16, 17, 67})
        for (const int64_t rows : {0, 1, 2, 3, 5, 8}) {
          Shape shape{rows, in, out, (in + out + rows) % 3 * 8, rows % 2 == 1, (in + rows) % 2 == 1, out % 2 == 1};
          Problem problem(shape);
          problem.take(type);
          check(problem, std::string(layout.name) + " " + text(shape));
          if (HasFatalFailure()) return;
        }
  }
}

TEST(RowProduct, EveryVariantEqualsTheReferenceForNf4) {
  // Rows of whole blocks, of half blocks, and of 37, which begin within a byte.
  for (const int64_t in : {32, 64, 96, 160, 576, 37})
    for (const int64_t out : {1, 16, 33})
      for (const int64_t rows : {1, 4, 7}) {
        Shape shape{rows, in, out, 16, true, rows == 4};
        Problem problem(shape);
        problem.take_nf4();
        check(problem, "NF4 " + text(shape));
        if (HasFatalFailure()) return;
      }
}

TEST(RowProduct, BytesDependNeitherOnThreadsNorOnOtherRows) {
  Problem all({.rows = 8, .in = 768, .out = 301, .rank = 16, .bias = true});
  all.take(GgmlType::kQ4_K);
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto one = all.run(row_product);
  omp_set_num_threads(2);
  EXPECT_EQ(all.run(row_product), one);
  omp_set_num_threads(before);
  for (int64_t row = 0; row < 8; ++row) {
    Problem single({.rows = 1, .in = 768, .out = 301, .rank = 16, .bias = true});
    single.take(GgmlType::kQ4_K);
    single.p.x.fp32 = all.x.data() + row * 768, single.p.down.fp32 = all.down.data() + row * 16;
    const auto alone = single.run(row_product);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), one.begin() + row * 301)) << row;
  }
}

TEST(RowProduct, WhatCannotBeIsRefused) {
  const auto refused = [](const auto& change) -> std::string {
    Problem problem({.rows = 2, .in = 256, .out = 3});
    problem.take(GgmlType::kQ4_K);
    change(problem.p);
    try {
      row_product(problem.p);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "accepted";
  };
  using ::testing::HasSubstr;
  EXPECT_EQ(refused([](RowProduct&) {}), "accepted");
  EXPECT_THAT(refused([](RowProduct& p) { p.rows = 9; }), HasSubstr("9 rows"));
  EXPECT_THAT(refused([](RowProduct& p) { p.in = 255; }), HasSubstr("no whole blocks of Q4_K"));
  EXPECT_THAT(refused([](RowProduct& p) { p.weight.row_bytes = 100; }), HasSubstr("stride of 100"));
  EXPECT_THAT(refused([](RowProduct& p) { p.x.stride = 10; }), HasSubstr("x has rows of 256"));
  EXPECT_THAT(refused([](RowProduct& p) { p.weight.blocks = nullptr; }), HasSubstr("no values"));
}

}  // namespace
}  // namespace graft::kernels
