#pragma once

// Private to the CUDA variant and its test: weight i of one block, split into what eight neighbours share (Group) and the rest.
// Blocks have no alignment, so everything is put together from bytes.

#include <cstdint>

#include "kernels/base/block_program.h"
#include "kernels/gguf_blocks/gguf_blocks.h"
#include "kernels/gguf_blocks/half.h"

namespace graft::kernels::detail {

GRAFT_HOST_DEVICE inline uint16_t u16_at(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }
GRAFT_HOST_DEVICE inline float float_at(const uint8_t* p) {
  return std::bit_cast<float>(static_cast<uint32_t>(u16_at(p)) | static_cast<uint32_t>(u16_at(p + 2)) << 16);
}
GRAFT_HOST_DEVICE inline float half_at(const uint8_t* p) { return half_to_float_inline(u16_at(p)); }
GRAFT_HOST_DEVICE inline int nibble_at(const uint8_t* p, bool high) { return high ? *p >> 4 : *p & 15; }

/// Blocks of 32: the first 16 weights in the low nibbles, the others in the high ones; a fifth bit each in a word of 32.
GRAFT_HOST_DEVICE inline int nibble_of_32(const uint8_t* nibbles, int i) { return nibble_at(nibbles + i % 16, i >= 16); }
GRAFT_HOST_DEVICE inline int code_of_32(const uint8_t* fifth, const uint8_t* nibbles, int i) {
  return nibble_of_32(nibbles, i) | ((fifth[i / 8] >> (i % 8)) & 1) << 4;
}

struct Scale {
  float scale;
  GRAFT_HOST_DEVICE float value(int code) const { return scale * static_cast<float>(code); }
};
struct ScaleAndOffset {
  float scale, offset;
  GRAFT_HOST_DEVICE float value(int code) const { return scale * static_cast<float>(code) + offset; }
};
struct ScaleAndMinimum {
  float scale, minimum;
  GRAFT_HOST_DEVICE float value(int code) const { return scale * static_cast<float>(code) - minimum; }
};

/// group(block, i): what the eight weights around weight i share. code(block, i): weight i's own number.
template <GgmlType kType>
struct BlockValues;

/// Plain types: the weight is its own code.
struct PlainValues {
  static constexpr int kElements = 1;
  struct Itself {
    GRAFT_HOST_DEVICE float value(float v) const { return v; }
  };
  GRAFT_HOST_DEVICE static Itself group(const uint8_t*, int) { return {}; }
};
template <>
struct BlockValues<GgmlType::kF32> : PlainValues {
  static constexpr int kBytes = 4;
  GRAFT_HOST_DEVICE static float code(const uint8_t* block, int) { return float_at(block); }
};
template <>
struct BlockValues<GgmlType::kF16> : PlainValues {
  static constexpr int kBytes = 2;
  GRAFT_HOST_DEVICE static float code(const uint8_t* block, int) { return half_at(block); }
};
template <>
struct BlockValues<GgmlType::kBF16> : PlainValues {
  static constexpr int kBytes = 2;
  GRAFT_HOST_DEVICE static float code(const uint8_t* block, int) { return bfloat16_to_float(u16_at(block)); }
};

template <>
struct BlockValues<GgmlType::kQ8_0> {
  static constexpr int kElements = 32, kBytes = 34;
  GRAFT_HOST_DEVICE static Scale group(const uint8_t* block, int) { return {half_at(block)}; }
  GRAFT_HOST_DEVICE static int code(const uint8_t* block, int i) { return static_cast<int8_t>(block[2 + i]); }
};
template <>
struct BlockValues<GgmlType::kQ4_0> {
  static constexpr int kElements = 32, kBytes = 18;
  GRAFT_HOST_DEVICE static Scale group(const uint8_t* block, int) { return {half_at(block)}; }
  GRAFT_HOST_DEVICE static int code(const uint8_t* block, int i) { return nibble_of_32(block + 2, i) - 8; }
};
template <>
struct BlockValues<GgmlType::kQ4_1> {
  static constexpr int kElements = 32, kBytes = 20;
  GRAFT_HOST_DEVICE static ScaleAndOffset group(const uint8_t* block, int) { return {half_at(block), half_at(block + 2)}; }
  GRAFT_HOST_DEVICE static int code(const uint8_t* block, int i) { return nibble_of_32(block + 4, i); }
};
template <>
struct BlockValues<GgmlType::kQ5_0> {
  static constexpr int kElements = 32, kBytes = 22;
  GRAFT_HOST_DEVICE static Scale group(const uint8_t* block, int) { return {half_at(block)}; }
  GRAFT_HOST_DEVICE static int code(const uint8_t* block, int i) { return code_of_32(block + 2, block + 6, i) - 16; }
};
template <>
struct BlockValues<GgmlType::kQ5_1> {
  static constexpr int kElements = 32, kBytes = 24;
  GRAFT_HOST_DEVICE static ScaleAndOffset group(const uint8_t* block, int) { return {half_at(block), half_at(block + 2)}; }
  GRAFT_HOST_DEVICE static int code(const uint8_t* block, int i) { return code_of_32(block + 4, block + 8, i); }
};

/// Q4_K and Q5_K: 8 groups of 32, whose scales and minima of 6 bits each stand in the 12 bytes from the fourth on.
GRAFT_HOST_DEVICE inline ScaleAndMinimum k_group(const uint8_t* block, int i) {
  const uint8_t* s = block + 4;
  const int j = i / 32;
  const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
  const int minimum = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
  return {half_at(block) * static_cast<float>(scale), half_at(block + 2) * static_cast<float>(minimum)};
}
/// The same 32 bytes hold an even group in their low nibbles and the next in their high ones.
GRAFT_HOST_DEVICE inline int k_nibble(const uint8_t* codes, int i) { return nibble_at(codes + i / 64 * 32 + i % 32, i / 32 % 2 == 1); }

template <>
struct BlockValues<GgmlType::kQ4_K> {
  static constexpr int kElements = 256, kBytes = 144;
  GRAFT_HOST_DEVICE static ScaleAndMinimum group(const uint8_t* block, int i) { return k_group(block, i); }
  GRAFT_HOST_DEVICE static int code(const uint8_t* block, int i) { return k_nibble(block + 16, i); }
};
template <>
struct BlockValues<GgmlType::kQ5_K> {
  static constexpr int kElements = 256, kBytes = 176;
  GRAFT_HOST_DEVICE static ScaleAndMinimum group(const uint8_t* block, int i) { return k_group(block, i); }
  GRAFT_HOST_DEVICE static int code(const uint8_t* block, int i) {
    return k_nibble(block + 48, i) | ((block[16 + i % 32] >> (i / 32)) & 1) << 4;
  }
};
/// 16 groups of 16; per half of 128 weights 64 bytes of low nibbles and 32 bytes of upper bit pairs.
template <>
struct BlockValues<GgmlType::kQ6_K> {
  static constexpr int kElements = 256, kBytes = 210;
  GRAFT_HOST_DEVICE static Scale group(const uint8_t* block, int i) {
    return {half_at(block + 208) * static_cast<float>(static_cast<int8_t>(block[192 + i / 16]))};
  }
  GRAFT_HOST_DEVICE static int code(const uint8_t* block, int i) {
    const int half = i / 128, within = i % 128;
    const int low = nibble_at(block + half * 64 + within % 64, within >= 64);
    const int high = (block[128 + half * 32 + within % 32] >> (within / 32 * 2)) & 3;
    return (low | high << 4) - 32;
  }
};

}  // namespace graft::kernels::detail
