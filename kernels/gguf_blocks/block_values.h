#pragma once

// Private to the CUDA variant and its test: the weights of a block, eight neighbours at a time. What they share is their Group; the codes of
// the eight come one a byte, with kZero added. With kAligned, data that lies as aligned as its blocks allow is read in units of that
// alignment; else, as the entry point promises no alignment, byte by byte.

#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/base/block_program.h"
#include "kernels/gguf_blocks/gguf_blocks.h"
#include "kernels/gguf_blocks/half.h"

namespace graft::kernels::detail {

template <bool kAligned>
GRAFT_HOST_DEVICE inline uint16_t u16_at(const uint8_t* p) {
  if constexpr (kAligned) return read_aligned<uint16_t>(p);
  return static_cast<uint16_t>(p[0] | p[1] << 8);
}
template <bool kAligned>
GRAFT_HOST_DEVICE inline float half_at(const uint8_t* p) {
  return half_to_float_inline(u16_at<kAligned>(p));
}

/// Eight bytes, the first lowest, read in units.
template <class Unit>
GRAFT_HOST_DEVICE inline uint64_t eight_bytes(const uint8_t* p) {
  uint64_t all = 0;
  for (int i = 0; i < 8; i += static_cast<int>(sizeof(Unit))) all |= static_cast<uint64_t>(read_aligned<Unit>(p + i)) << (8 * i);
  return all;
}
template <bool kAligned, class Unit>
using UnitIf = std::conditional_t<kAligned, Unit, uint8_t>;

GRAFT_HOST_DEVICE inline uint64_t nibbles_of(uint64_t bytes, bool high) { return bytes >> (high ? 4 : 0) & 0x0f0f0f0f0f0f0f0full; }

/// Bit i of `bits` as bit 4 of byte i.
GRAFT_HOST_DEVICE inline uint64_t fifth_bits(uint8_t bits) {
  uint64_t all = 0;
  for (int i = 0; i < 8; ++i) all |= static_cast<uint64_t>(bits >> i & 1) << (8 * i + 4);
  return all;
}

/// Byte i as a number less kZero. 2^23 + byte is an fp32 number with the byte as its last bits; the difference is exact.
template <int kZero>
GRAFT_HOST_DEVICE inline float code_of(uint64_t codes, int i) {
  const auto byte = static_cast<uint32_t>(codes >> (8 * i)) & 255u;
  return std::bit_cast<float>(0x4b000000u | byte) - static_cast<float>(8388608 + kZero);
}

struct Scale {
  float scale;
  GRAFT_HOST_DEVICE float value(float code) const { return scale * code; }
};
struct ScaleAndOffset {
  float scale, offset;
  GRAFT_HOST_DEVICE float value(float code) const { return scale * code + offset; }
};
struct ScaleAndMinimum {
  float scale, minimum;
  GRAFT_HOST_DEVICE float value(float code) const { return scale * code - minimum; }
};

/// group(block, i) and codes(block, i) of the eight weights from i on, a multiple of 8. kUnit: what is read at once.
/// A block's size is a multiple of it, but for the plain types, of which eight are.
template <GgmlType kType>
struct BlockValues;

/// Plain types: how a weight is stored, and its value.
template <>
struct BlockValues<GgmlType::kF32> {
  using Stored = float;
  static constexpr int kElements = 1, kBytes = 4, kUnit = 16;
  GRAFT_HOST_DEVICE static float value(float stored) { return stored; }
};
template <>
struct BlockValues<GgmlType::kF16> {
  using Stored = uint16_t;
  static constexpr int kElements = 1, kBytes = 2, kUnit = 16;
  GRAFT_HOST_DEVICE static float value(uint16_t stored) { return half_to_float_inline(stored); }
};
template <>
struct BlockValues<GgmlType::kBF16> {
  using Stored = uint16_t;
  static constexpr int kElements = 1, kBytes = 2, kUnit = 16;
  GRAFT_HOST_DEVICE static float value(uint16_t stored) { return bfloat16_to_float(stored); }
};

/// Blocks of 32. Where codes are nibbles, the first 16 weights have the low ones, the others the high ones.
template <int kNibblesAt, bool kAligned, class Unit>
GRAFT_HOST_DEVICE inline uint64_t nibbles_of_32(const uint8_t* block, int i) {
  return nibbles_of(eight_bytes<UnitIf<kAligned, Unit>>(block + kNibblesAt + i % 16), i >= 16);
}

template <>
struct BlockValues<GgmlType::kQ8_0> {
  static constexpr int kElements = 32, kBytes = 34, kUnit = 2, kZero = 128;
  template <bool kAligned>
  GRAFT_HOST_DEVICE static Scale group(const uint8_t* block, int) {
    return {half_at<kAligned>(block)};
  }
  template <bool kAligned>
  GRAFT_HOST_DEVICE static uint64_t codes(const uint8_t* block, int i) {
    return eight_bytes<UnitIf<kAligned, uint16_t>>(block + 2 + i) ^ 0x8080808080808080ull;  // signed bytes plus 128
  }
};
template <>
struct BlockValues<GgmlType::kQ4_0> {
  static constexpr int kElements = 32, kBytes = 18, kUnit = 2, kZero = 8;
  template <bool kAligned>
  GRAFT_HOST_DEVICE static Scale group(const uint8_t* block, int) {
    return {half_at<kAligned>(block)};
  }
  template <bool kAligned>
  GRAFT_HOST_DEVICE static uint64_t codes(const uint8_t* block, int i) {
    return nibbles_of_32<2, kAligned, uint16_t>(block, i);
  }
};
template <>
struct BlockValues<GgmlType::kQ4_1> {
  static constexpr int kElements = 32, kBytes = 20, kUnit = 4, kZero = 0;
  template <bool kAligned>
  GRAFT_HOST_DEVICE static ScaleAndOffset group(const uint8_t* block, int) {
    return {half_at<kAligned>(block), half_at<kAligned>(block + 2)};
  }
  template <bool kAligned>
  GRAFT_HOST_DEVICE static uint64_t codes(const uint8_t* block, int i) {
    return nibbles_of_32<4, kAligned, uint32_t>(block, i);
  }
};
template <>
struct BlockValues<GgmlType::kQ5_0> {
  static constexpr int kElements = 32, kBytes = 22, kUnit = 2, kZero = 16;
  template <bool kAligned>
  GRAFT_HOST_DEVICE static Scale group(const uint8_t* block, int) {
    return {half_at<kAligned>(block)};
  }
  template <bool kAligned>
  GRAFT_HOST_DEVICE static uint64_t codes(const uint8_t* block, int i) {
    return nibbles_of_32<6, kAligned, uint16_t>(block, i) | fifth_bits(block[2 + i / 8]);
  }
};
template <>
struct BlockValues<GgmlType::kQ5_1> {
  static constexpr int kElements = 32, kBytes = 24, kUnit = 8, kZero = 0;
  template <bool kAligned>
  GRAFT_HOST_DEVICE static ScaleAndOffset group(const uint8_t* block, int) {
    return {half_at<kAligned>(block), half_at<kAligned>(block + 2)};
  }
  template <bool kAligned>
  GRAFT_HOST_DEVICE static uint64_t codes(const uint8_t* block, int i) {
    return nibbles_of_32<8, kAligned, uint64_t>(block, i) | fifth_bits(block[4 + i / 8]);
  }
};

/// Q4_K and Q5_K: 8 groups of 32, whose scales and minima of 6 bits each stand in the 12 bytes from the fourth on.
template <bool kAligned>
GRAFT_HOST_DEVICE inline ScaleAndMinimum k_group(const uint8_t* block, int i) {
  const uint8_t* s = block + 4;
  const int j = i / 32;
  const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
  const int minimum = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
  return {half_at<kAligned>(block) * static_cast<float>(scale), half_at<kAligned>(block + 2) * static_cast<float>(minimum)};
}
/// The same 32 bytes hold an even group in their low nibbles and the next in their high ones.
template <bool kAligned>
GRAFT_HOST_DEVICE inline uint64_t k_nibbles(const uint8_t* codes, int i) {
  return nibbles_of(eight_bytes<UnitIf<kAligned, uint64_t>>(codes + i / 64 * 32 + i % 32), i / 32 % 2 == 1);
}

template <>
struct BlockValues<GgmlType::kQ4_K> {
  static constexpr int kElements = 256, kBytes = 144, kUnit = 8, kZero = 0;
  template <bool kAligned>
  GRAFT_HOST_DEVICE static ScaleAndMinimum group(const uint8_t* block, int i) {
    return k_group<kAligned>(block, i);
  }
  template <bool kAligned>
  GRAFT_HOST_DEVICE static uint64_t codes(const uint8_t* block, int i) {
    return k_nibbles<kAligned>(block + 16, i);
  }
};
template <>
struct BlockValues<GgmlType::kQ5_K> {
  static constexpr int kElements = 256, kBytes = 176, kUnit = 8, kZero = 0;
  template <bool kAligned>
  GRAFT_HOST_DEVICE static ScaleAndMinimum group(const uint8_t* block, int i) {
    return k_group<kAligned>(block, i);
  }
  template <bool kAligned>
  GRAFT_HOST_DEVICE static uint64_t codes(const uint8_t* block, int i) {
    const uint64_t fifth = eight_bytes<UnitIf<kAligned, uint64_t>>(block + 16 + i % 32) >> (i / 32) & 0x0101010101010101ull;
    return k_nibbles<kAligned>(block + 48, i) | fifth << 4;
  }
};
/// 16 groups of 16; per half of 128 weights 64 bytes of low nibbles and 32 bytes of upper bit pairs.
template <>
struct BlockValues<GgmlType::kQ6_K> {
  static constexpr int kElements = 256, kBytes = 210, kUnit = 2, kZero = 32;
  template <bool kAligned>
  GRAFT_HOST_DEVICE static Scale group(const uint8_t* block, int i) {
    return {half_at<kAligned>(block + 208) * static_cast<float>(static_cast<int8_t>(block[192 + i / 16]))};
  }
  template <bool kAligned>
  GRAFT_HOST_DEVICE static uint64_t codes(const uint8_t* block, int i) {
    using Unit = UnitIf<kAligned, uint16_t>;
    const int half = i / 128, within = i % 128;
    const uint64_t low = nibbles_of(eight_bytes<Unit>(block + half * 64 + within % 64), within >= 64);
    const uint64_t high = eight_bytes<Unit>(block + 128 + half * 32 + within % 32) >> (within / 32 * 2) & 0x0303030303030303ull;
    return low | high << 4;
  }
};

}  // namespace graft::kernels::detail
