#include "kernels/gguf_blocks/gguf_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/base/bfloat16.h"
#include "kernels/base/error.h"
#include "kernels/gguf_blocks/variants.h"

namespace graft::kernels {
namespace {

constexpr GgmlType kTypes[] = {GgmlType::kF32,  GgmlType::kF16,  GgmlType::kBF16, GgmlType::kQ8_0, GgmlType::kQ4_0, GgmlType::kQ4_1,
                               GgmlType::kQ5_0, GgmlType::kQ5_1, GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K};

std::vector<uint8_t> random_bytes(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> bytes(count);
  for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

std::span<const std::byte> as_bytes(const std::vector<uint8_t>& bytes) { return std::as_bytes(std::span(bytes)); }

// Random bytes make every kind of scale: subnormal, infinite, NaN. The variants promise the reference's bits, so the tolerance is zero;
// only which of two NaN operands survives is left to the processor.
TEST(GgufBlocks, EveryVariantGivesTheBitsOfTheReference) {
  for (const auto type : kTypes) {
    const auto layout = block_layout(type);
    for (const size_t count : {0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 500}) {
      const auto blocks = random_bytes(count * layout.bytes, count + 1);
      std::vector<float> expected(count * layout.elements), wide(expected.size());
      std::vector<uint16_t> expected_narrow(expected.size()), narrow(expected.size());
      detail::dequantize_reference(type, blocks.data(), count, expected.data());
      detail::dequantize_reference(type, blocks.data(), count, expected_narrow.data());
      for (const auto& variant : dequantize_variants()) {
        if (!variant.supported()) continue;
        variant.to_float(type, blocks.data(), count, wide.data());
        variant.to_bfloat16(type, blocks.data(), count, narrow.data());
        for (size_t i = 0; i < expected.size(); ++i) {
          const bool nan = std::isnan(expected[i]);
          ASSERT_TRUE(nan ? std::isnan(wide[i]) : std::bit_cast<uint32_t>(wide[i]) == std::bit_cast<uint32_t>(expected[i]))
              << layout.name << " " << variant.name << " weight " << i << " of " << count << " blocks: " << wide[i] << ", not " << expected[i];
          ASSERT_TRUE(nan ? std::isnan(bfloat16_to_float(narrow[i])) : narrow[i] == expected_narrow[i])
              << layout.name << " " << variant.name << " bf16 weight " << i << " of " << count << " blocks";
        }
      }
    }
  }
}

TEST(GgufBlocks, KnownBlocksExpandToKnownWeights) {
  // Scale 0.5, minimum -1: code 0 is -1, code 15 is 6.5; byte 0 holds weights 0 and 16.
  std::vector<uint8_t> q4_1(20, 0);
  const uint16_t half = float_to_half(0.5f), minus_one = float_to_half(-1.0f);
  std::memcpy(q4_1.data(), &half, 2);
  std::memcpy(q4_1.data() + 2, &minus_one, 2);
  q4_1[4] = 0xf3;
  std::vector<float> out(32);
  dequantize_blocks(GgmlType::kQ4_1, as_bytes(q4_1), out);
  EXPECT_EQ(out[0], 0.5f);
  EXPECT_EQ(out[16], 6.5f);
  EXPECT_EQ(out[1], -1.0f);

  // Scale 2 and group scale 3 for weights 32..63 of Q6_K: code 0 is -32.
  std::vector<uint8_t> q6_k(210, 0);
  const uint16_t two = float_to_half(2.0f);
  std::memcpy(q6_k.data() + 208, &two, 2);
  q6_k[192 + 2] = 3;
  out.resize(256);
  dequantize_blocks(GgmlType::kQ6_K, as_bytes(q6_k), out);
  EXPECT_EQ(out[31], 0.0f);
  EXPECT_EQ(out[32], -192.0f);
  EXPECT_EQ(out[47], -192.0f);
  EXPECT_EQ(out[48], 0.0f);
}

TEST(GgufBlocks, SizesThatDisagreeAreRefused) {
  std::vector<uint8_t> blocks(34 * 2);
  std::vector<float> out(64);
  EXPECT_NO_THROW(dequantize_blocks(GgmlType::kQ8_0, as_bytes(blocks), out));
  out.resize(63);
  EXPECT_THROW(dequantize_blocks(GgmlType::kQ8_0, as_bytes(blocks), out), InvalidArgument);
  out.resize(32);
  EXPECT_THROW(dequantize_blocks(GgmlType::kQ8_0, as_bytes(blocks), out), InvalidArgument);
  blocks.resize(35);
  EXPECT_THROW(dequantize_blocks(GgmlType::kQ8_0, as_bytes(blocks), out), InvalidArgument);
}

TEST(GgufBlocks, AnUnknownTypeNamesTheKnownOnes) {
  EXPECT_FALSE(is_known_ggml_type(10));
  try {
    block_layout(static_cast<GgmlType>(10));
    FAIL() << "type 10 (Q2_K) was accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("10"), testing::HasSubstr("Q4_K")));
  }
}

TEST(Halves, EveryHalfComesBackFromFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = half_to_float(half);
    if ((half & 0x7c00) == 0x7c00 && (half & 0x3ff) != 0) {
      EXPECT_TRUE(std::isnan(value)) << bits;
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(value)))) << bits;
    } else {
      ASSERT_EQ(float_to_half(value), half) << bits;
      const int exponent = (half >> 10) & 31, mantissa = half & 0x3ff;
      const double magnitude = exponent == 31  ? std::numeric_limits<double>::infinity()
                               : exponent == 0 ? std::ldexp(mantissa, -24)
                                               : std::ldexp(1024 + mantissa, exponent - 25);
      ASSERT_EQ(value, half & 0x8000 ? -magnitude : magnitude) << bits;
    }
  }
}

TEST(Halves, FloatsRoundToTheNearestHalfAndTiesToEven) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const float low = half_to_float(static_cast<uint16_t>(bits));
    const float high = bits == 0x7bff ? 65536.0f : half_to_float(static_cast<uint16_t>(bits + 1));
    const float middle = low + (high - low) / 2;  // exact: one bit more than a half has
    ASSERT_EQ(float_to_half(middle), bits % 2 == 0 ? bits : bits + 1) << bits;
    ASSERT_EQ(float_to_half(std::nextafter(middle, low)), bits) << bits;
    ASSERT_EQ(float_to_half(std::nextafter(middle, high)), bits + 1) << bits;
    ASSERT_EQ(float_to_half(-middle), 0x8000u | (bits % 2 == 0 ? bits : bits + 1)) << bits;
  }
}

TEST(QuantizeQ8_0, ErrsByAtMostHalfAStepAndTheScalesRounding) {
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> values(32 * 100), back(values.size());
  for (auto& value : values) value = normal(random);
  std::vector<std::byte> blocks(34 * 100);
  quantize_q8_0(values, blocks);
  dequantize_blocks(GgmlType::kQ8_0, blocks, back);
  for (size_t b = 0; b < 100; ++b) {
    float largest = 0;
    for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(values[b * 32 + i]));
    // Half a step of largest / 127, and 127 steps whose scale is off by at most 2^-11 of itself; 1.001 for fp32 rounding.
    const float bound = 1.001f * (largest / 254.0f + largest / 2048.0f);
    for (size_t i = 0; i < 32; ++i) EXPECT_LE(std::fabs(back[b * 32 + i] - values[b * 32 + i]), bound);
  }
}

TEST(QuantizeQ8_0, WhatHasNoScaleIsRefused) {
  std::vector<std::byte> blocks(34);
  std::vector<float> values(32, 1.0f);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30f}) {
    values[7] = bad;
    EXPECT_THROW(quantize_q8_0(values, blocks), InvalidArgument) << bad;
  }
  values.resize(31);
  EXPECT_THROW(quantize_q8_0(values, blocks), InvalidArgument);
}

TEST(QuantizeQ8_0, TinyValuesBecomeZero) {
  std::vector<float> values(32, 1e-44f), back(32, 1.0f);
  std::vector<std::byte> blocks(34);
  quantize_q8_0(values, blocks);
  dequantize_blocks(GgmlType::kQ8_0, blocks, back);
  EXPECT_THAT(back, testing::Each(0.0f));
}

}  // namespace
}  // namespace graft::kernels
