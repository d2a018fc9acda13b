#pragma once

// Private to the portable variant: loops of fixed length, which compilers turn into vector code for any processor.

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/gguf_blocks/block_loops.h"

/// Before every function of the loops in row_loops-inl.h.
#define GRAFT_ROWS
#define GRAFT_ROWS_INLINE inline

namespace graft::kernels::detail {
namespace {

/// f(i) for 16 lanes.
template <class T, class Function>
inline std::array<T, 16> for_16(Function f) {
  std::array<T, 16> result{};
  for (size_t i = 0; i < 16; ++i) result[i] = f(i);
  return result;
}

inline uint16_t word_at(const uint8_t* p) {
  uint16_t word = 0;
  std::memcpy(&word, p, sizeof word);
  return word;
}

inline uint32_t pair_at(const uint8_t* p) {
  uint32_t pair = 0;
  std::memcpy(&pair, p, sizeof pair);
  return pair;
}

/// 16 codes of a quantised weight, one integer each.
struct Codes {
  std::array<int32_t, 16> lanes;
  static Codes bytes(const uint8_t* p) {
    return {for_16<int32_t>([p](size_t i) { return static_cast<int32_t>(p[i]); })};
  }
  static Codes signed_bytes(const uint8_t* p) {
    return {for_16<int32_t>([p](size_t i) { return static_cast<int32_t>(static_cast<int8_t>(p[i])); })};
  }
  Codes down(int bits) const {
    return {for_16<int32_t>([this, bits](size_t i) { return lanes[i] >> bits; })};
  }
  Codes masked(int mask) const {
    return {for_16<int32_t>([this, mask](size_t i) { return lanes[i] & mask; })};
  }
};

/// 16 fp32 values.
struct Lanes {
  std::array<float, 16> lanes;
  static constexpr int kRowsAtOnce = 1;
  static Lanes zero() { return all(0.0f); }
  static Lanes load(const float* p) {
    return {for_16<float>([p](size_t i) { return p[i]; })};
  }
  static Lanes all(float value) {
    return {for_16<float>([value](size_t) { return value; })};
  }
  static Lanes all_half(const uint8_t* p) { return all(half_to_float_inline(word_at(p))); }
  static Lanes halves(const uint8_t* p) {
    return {for_16<float>([p](size_t i) { return half_to_float_inline(word_at(p + 2 * i)); })};
  }
  static Lanes of(const Codes& codes) {
    return {for_16<float>([&](size_t i) { return static_cast<float>(codes.lanes[i]); })};
  }
  /// 16 pairs of bf16: the first values of the pairs, or the second ones.
  static Lanes first_of_pairs(const uint8_t* p) {
    return {for_16<float>([p](size_t i) { return std::bit_cast<float>(pair_at(p + 4 * i) << 16); })};
  }
  static Lanes second_of_pairs(const uint8_t* p) {
    return {for_16<float>([p](size_t i) { return std::bit_cast<float>(pair_at(p + 4 * i) & 0xffff0000u); })};
  }
  /// table[code & 15]
  static Lanes looked_up(const Lanes& table, const Codes& codes) {
    return {for_16<float>([&](size_t i) { return table.lanes[static_cast<size_t>(codes.lanes[i] & 15)]; })};
  }
  Lanes times(const Lanes& other) const {
    return {for_16<float>([&](size_t i) { return lanes[i] * other.lanes[i]; })};
  }
  Lanes plus(const Lanes& other) const {
    return {for_16<float>([&](size_t i) { return lanes[i] + other.lanes[i]; })};
  }
  Lanes times_plus(const Lanes& factor, const Lanes& term) const {
    return {for_16<float>([&](size_t i) { return lanes[i] * factor.lanes[i] + term.lanes[i]; })};
  }
  void store(float* p) const { std::memcpy(p, lanes.data(), sizeof lanes); }
  /// Halves are added to halves.
  float total() const {
    auto values = lanes;
    for (size_t width = 8; width > 0; width /= 2) {
      for (size_t i = 0; i < width; ++i) values[i] += values[i + width];
    }
    return values[0];
  }
};

/// The weights scale * code + offset of nibbles.
struct NibbleWeights {
  Lanes scale, offset;
  NibbleWeights(const Lanes& factor, const Lanes& term) : scale(factor), offset(term) {}
  Lanes low(const Codes& codes) const { return Lanes::of(codes.masked(15)).times_plus(scale, offset); }
  Lanes high(const Codes& codes) const { return Lanes::of(codes.down(4)).times_plus(scale, offset); }
};

/// Scales of the 8 groups of 32 in a block of Q4_K or Q5_K, and the terms that are added.
struct KGroups {
  float scale[8], offset[8];
  explicit KGroups(const uint8_t* block) {
    const GroupScales groups(block);
    for (size_t i = 0; i < 8; ++i) scale[i] = groups.scale[i], offset[i] = -groups.minimum[i];
  }
};

}  // namespace
}  // namespace graft::kernels::detail
