#include "kernels/nf4/nf4.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/base/bfloat16.h"
#include "kernels/base/error.h"
#include "kernels/nf4/variants.h"

namespace graft::kernels {
namespace {

std::vector<float> gaussian(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> values(count);
  for (auto& value : values) value = normal(random);
  return values;
}

TEST(Nf4, EveryVariantGivesTheBitsOfTheReference) {
  for (const int64_t block_size : {32, 64, 256, 4096}) {
    for (const size_t count : {0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 4097, 16384, 20011}) {
      for (const bool nested : {false, true}) {
        const auto weight = quantize_nf4(gaussian(count, count), block_size, nested);
        std::vector<float> expected(count), wide(count);
        std::vector<uint16_t> narrow(count);
        dequantize_nf4_reference(weight, 0, expected);
        for (const auto& variant : detail::nf4_variants()) {
          if (!variant.supported()) continue;
          variant.to_float(weight, 0, wide);
          variant.to_bfloat16(weight, 0, narrow);
          for (size_t i = 0; i < count; ++i) {
            ASSERT_EQ(std::bit_cast<uint32_t>(wide[i]), std::bit_cast<uint32_t>(expected[i])) << variant.name << " weight " << i << " of " << count;
            ASSERT_EQ(narrow[i], float_to_bfloat16(expected[i])) << variant.name << " weight " << i << " of " << count;
          }
        }
      }
    }
  }
}

TEST(Nf4, ScalesThatAreNotFiniteDoNotPartTheVariants) {
  auto weight = quantize_nf4(gaussian(128, 1), 64, false);
  weight.absmax = {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()};
  std::vector<uint16_t> narrow(128);
  for (const auto& variant : detail::nf4_variants()) {
    if (!variant.supported()) continue;
    variant.to_bfloat16(weight, 0, narrow);
    for (size_t i = 64; i < 128; ++i) EXPECT_TRUE(std::isnan(bfloat16_to_float(narrow[i]))) << variant.name;
  }
}

TEST(Nf4, APartExpandsToThatPartOfTheWhole) {
  const auto weight = quantize_nf4(gaussian(64 * 40 + 7, 5));
  std::vector<float> whole(static_cast<size_t>(weight.count));
  dequantize_nf4(weight, 0, whole);
  for (const int64_t first : {0, 64, 64 * 13, 64 * 40}) {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{7}, size_t{100}, size_t{64 * 3}}) {
      if (first + static_cast<int64_t>(size) > weight.count) continue;
      std::vector<float> part(size + 1, -77.0f);
      dequantize_nf4(weight, first, std::span(part).first(size));
      EXPECT_TRUE(std::equal(part.begin(), part.end() - 1, whole.begin() + first)) << first << " " << size;
      EXPECT_EQ(part.back(), -77.0f) << "wrote past the end";
    }
  }
}

TEST(Nf4, QuantisersOfAllInstructionSetsAgree) {
  if (!detail::nf4_avx2_supported()) GTEST_SKIP() << "this processor has no AVX2";
  for (const size_t count : {1, 63, 64, 65, 4099}) {
    const auto values = gaussian(count, 9);
    std::vector<uint8_t> a((count + 1) / 2), b(a.size());
    std::vector<float> scales_a((count + 63) / 64), scales_b(scales_a.size());
    detail::quantize_blocks_avx2(values, 64, a.data(), scales_a.data());
    detail::quantize_blocks_portable(values, 64, b.data(), scales_b.data());
    EXPECT_EQ(a, b);
    EXPECT_EQ(scales_a, scales_b);
  }
}

TEST(Nf4, EachWeightGetsTheNearestValue) {
  const auto values = gaussian(64 * 50, 2);
  const auto weight = quantize_nf4(values, 64, false);
  std::vector<float> back(values.size());
  dequantize_nf4(weight, 0, back);
  for (size_t i = 0; i < values.size(); ++i) {
    const float scale = weight.absmax[i / 64];
    float nearest = std::numeric_limits<float>::infinity();
    for (const float value : nf4_table()) nearest = std::min(nearest, std::fabs(values[i] - value * scale));
    // Ties and fp32 rounding of the scaled value: a few units in the last place of the scale.
    EXPECT_LE(std::fabs(values[i] - back[i]), nearest + 4 * std::numeric_limits<float>::epsilon() * scale);
  }
}

TEST(Nf4, DoubleQuantisationCosts4127ThousandthsOfABit) {
  const size_t count = 64 * 256 * 8;
  const auto values = gaussian(count, 7);
  EXPECT_DOUBLE_EQ(quantize_nf4(values, 64, false).bits_per_weight(), 4.5);
  const auto weight = quantize_nf4(values);
  EXPECT_TRUE(weight.double_quantised());
  EXPECT_TRUE(weight.absmax.empty());
  // 4 + 8/64 + 32/(64 * 256)
  EXPECT_DOUBLE_EQ(weight.bits_per_weight(), 4.126953125);
}

TEST(Nf4, ExpandingWhatWasExpandedChangesNothing) {
  const auto once = quantize_nf4(gaussian(64 * 20, 3), 64, false);
  std::vector<float> values(64 * 20), again(64 * 20);
  dequantize_nf4(once, 0, values);
  dequantize_nf4(quantize_nf4(values, 64, false), 0, again);
  EXPECT_EQ(values, again);
}

TEST(Nf4, TheTablesAreWhatTheyShouldBe) {
  EXPECT_TRUE(std::is_sorted(nf4_table().begin(), nf4_table().end()));
  EXPECT_EQ(nf4_table()[7], 0.0f);
  const auto map = dynamic_map_8bit();
  ASSERT_EQ(map.size(), 256u);
  EXPECT_TRUE(std::is_sorted(map.begin(), map.end()));
  EXPECT_TRUE(std::adjacent_find(map.begin(), map.end()) == map.end());
  EXPECT_EQ(map.back(), 1.0f);
  EXPECT_EQ(map[127], 0.0f);
  for (size_t i = 0; i < 127; ++i) EXPECT_EQ(map[i], -map[254 - i]) << i;
}

TEST(Nf4, WrongUseIsRefused) {
  const auto values = gaussian(200, 1);
  for (const int64_t size : {0, -64, 16, 48, 8192}) EXPECT_THROW(quantize_nf4(values, size), InvalidArgument) << size;
  auto weight = quantize_nf4(values);
  std::vector<float> out(64);
  EXPECT_THROW(dequantize_nf4(weight, 32, out), InvalidArgument);
  EXPECT_THROW(dequantize_nf4(weight, -64, out), InvalidArgument);
  EXPECT_THROW(dequantize_nf4(weight, 192, out), InvalidArgument);
  weight.absmax_codes.pop_back();
  EXPECT_THROW(dequantize_nf4(weight, 0, out), InvalidArgument);
  weight = quantize_nf4(values);
  weight.block_size = 48;
  EXPECT_THROW(dequantize_nf4(weight, 0, out), InvalidArgument);
  auto bad = values;
  bad[123] = std::numeric_limits<float>::quiet_NaN();
  try {
    quantize_nf4(bad);
    FAIL() << "NaN was quantised";
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("123"));
  }
}

}  // namespace
}  // namespace graft::kernels
