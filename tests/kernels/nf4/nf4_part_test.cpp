#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/base/error.h"
#include "kernels/nf4/nf4.h"
#include "kernels/nf4/variants.h"

namespace graft::kernels {
namespace {

constexpr uint16_t kUntouched = 0x4321;

std::vector<float> normal(int64_t count) {
  std::mt19937 random(3);
  std::normal_distribution<float> draw(0.0f, 0.02f);
  std::vector<float> values(static_cast<size_t>(count));
  for (auto& value : values) value = draw(random);
  return values;
}

std::vector<uint16_t> whole(const Nf4Weight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.count));
  dequantize_nf4_reference(weight, 0, values);
  std::vector<uint16_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(), float_to_bfloat16);
  return bits;
}

/// Expands the part into memory of exactly its size.
void check_part(const Nf4Weight& weight, const std::vector<uint16_t>& all, const Nf4Part& part, int64_t gap) {
  const int64_t stride = part.columns + gap;
  std::vector<uint16_t> got(static_cast<size_t>(part.rows == 0 ? 0 : (part.rows - 1) * stride + part.columns), kUntouched);
  dequantize_nf4_part(weight, part, got.data(), stride);
  for (size_t i = 0; i < got.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) / stride, column = static_cast<int64_t>(i) % stride;
    const auto place = static_cast<size_t>((part.row + row) * part.row_length + part.column + column);
    ASSERT_EQ(got[i], column < part.columns ? all[place] : kUntouched)
        << "rows of " << part.row_length << ", block " << weight.block_size << ", from row " << part.row << " column " << part.column << ": " << i;
  }
}

TEST(Nf4Part, AnyRectangleIsThatOfTheWholeWeight) {
  for (const int64_t block : {32, 64, 4096}) {
    for (const int64_t length : {1, 31, 64, 96, 100, 192, 577}) {
      const int64_t rows = 9;
      const auto weight = quantize_nf4(normal(rows * length), block, /*double_quantise=*/length % 2 == 0);
      const auto all = whole(weight);
      for (const int64_t row : {0, 1, 8}) {
        for (const int64_t column : {int64_t{0}, int64_t{1}, length / 3, length - 1}) {
          for (const int64_t columns : {int64_t{0}, int64_t{1}, length - column}) {
            if (column + columns > length) continue;
            check_part(weight, all, {length, row, std::min<int64_t>(rows - row, 3), column, columns}, column % 3);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

/// Scales at which the processor's own rounding would differ from ours: results that are subnormal, infinite or NaN.
TEST(Nf4Part, EveryVariantGivesTheBitsOfTheReferenceForExtremeScales) {
  auto weight = quantize_nf4(normal(64 * 12), 64, /*double_quantise=*/false);
  const float infinity = std::numeric_limits<float>::infinity();
  weight.absmax = {0.0f, 1e-45f, 0x1p-130f, 0x1p-126f, 0x1p-121f, 0x1p-119f, 0x1p119f, 0x1p121f, 3.4e38f, infinity, -1.0f, std::nanf("")};
  const auto expected = whole(weight);
  for (const auto& variant : detail::nf4_variants()) {
    if (!variant.supported()) continue;
    std::vector<uint16_t> got(expected.size());
    variant.to_bfloat16(weight, 0, got);
    EXPECT_EQ(got, expected) << variant.name;
  }
}

TEST(Nf4Part, WhatDoesNotLieInTheWeightIsRefused) {
  const auto weight = quantize_nf4(normal(128 * 4));
  std::vector<uint16_t> to(128 * 5);
  EXPECT_NO_THROW(dequantize_nf4_part(weight, {128, 1, 3, 0, 128}, to.data(), 128));
  for (const Nf4Part& part : {Nf4Part{128, 1, 4, 0, 128}, Nf4Part{128, 0, 1, 64, 65}, Nf4Part{128, -1, 1, 0, 128}, Nf4Part{128, 0, 1, -1, 8}})
    EXPECT_THROW(dequantize_nf4_part(weight, part, to.data(), 128), InvalidArgument);
}

}  // namespace
}  // namespace graft::kernels
