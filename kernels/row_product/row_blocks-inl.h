#pragma once

// Included by each variant after its lanes: what 32 weights of a format are, as two groups of 16 fp32 values. A block is opened once (its
// scales) and then gives its steps of 32 weights.

#include <cstdint>

namespace graft::kernels::detail {
namespace {

struct F32Step {
  static constexpr int64_t kSteps = 1, kBytes = 128;
  const uint8_t* p;
  GRAFT_ROWS_INLINE explicit F32Step(const uint8_t* values) : p(values) {}
  GRAFT_ROWS_INLINE void step(int64_t, Lanes& a, Lanes& b) const {
    a = Lanes::load(reinterpret_cast<const float*>(p));
    b = Lanes::load(reinterpret_cast<const float*>(p) + 16);
  }
};

struct F16Step {
  static constexpr int64_t kSteps = 1, kBytes = 64;
  const uint8_t* p;
  GRAFT_ROWS_INLINE explicit F16Step(const uint8_t* values) : p(values) {}
  GRAFT_ROWS_INLINE void step(int64_t, Lanes& a, Lanes& b) const {
    a = Lanes::halves(p);
    b = Lanes::halves(p + 32);
  }
};

struct Bf16Step {
  static constexpr int64_t kSteps = 1, kBytes = 64;
  const uint8_t* p;
  GRAFT_ROWS_INLINE explicit Bf16Step(const uint8_t* values) : p(values) {}
  GRAFT_ROWS_INLINE void step(int64_t, Lanes& a, Lanes& b) const {
    a = Lanes::first_of_pairs(p);
    b = Lanes::second_of_pairs(p);
  }
};

struct Q8_0Step {
  static constexpr int64_t kSteps = 1, kBytes = 34;
  const uint8_t* p;
  GRAFT_ROWS_INLINE explicit Q8_0Step(const uint8_t* block) : p(block) {}
  GRAFT_ROWS_INLINE void step(int64_t, Lanes& a, Lanes& b) const {
    const Lanes scale = Lanes::all_half(p);
    a = Lanes::of(Codes::signed_bytes(p + 2)).times(scale);
    b = Lanes::of(Codes::signed_bytes(p + 18)).times(scale);
  }
};

struct Q4_0Step {
  static constexpr int64_t kSteps = 1, kBytes = 18;
  const uint8_t* p;
  GRAFT_ROWS_INLINE explicit Q4_0Step(const uint8_t* block) : p(block) {}
  GRAFT_ROWS_INLINE void step(int64_t, Lanes& a, Lanes& b) const {
    const Lanes scale = Lanes::all_half(p);
    const NibbleWeights weights(scale, scale.times(Lanes::all(-8.0f)));
    const Codes codes = Codes::bytes(p + 2);
    a = weights.low(codes);
    b = weights.high(codes);
  }
};

struct Q4_1Step {
  static constexpr int64_t kSteps = 1, kBytes = 20;
  const uint8_t* p;
  GRAFT_ROWS_INLINE explicit Q4_1Step(const uint8_t* block) : p(block) {}
  GRAFT_ROWS_INLINE void step(int64_t, Lanes& a, Lanes& b) const {
    const NibbleWeights weights(Lanes::all_half(p), Lanes::all_half(p + 2));
    const Codes codes = Codes::bytes(p + 4);
    a = weights.low(codes);
    b = weights.high(codes);
  }
};

/// Groups of 32 with a scale and a minimum each; two groups share 32 bytes, one in the low and one in the high nibbles.
struct Q4_KSteps {
  static constexpr int64_t kSteps = 8, kBytes = 144;
  const uint8_t* p;
  KGroups groups;
  GRAFT_ROWS_INLINE explicit Q4_KSteps(const uint8_t* block) : p(block), groups(block) {}
  GRAFT_ROWS_INLINE void step(int64_t group, Lanes& a, Lanes& b) const {
    const NibbleWeights weights(Lanes::all(groups.scale[group]), Lanes::all(groups.offset[group]));
    const Codes first = Codes::bytes(p + 16 + group / 2 * 32), second = Codes::bytes(p + 32 + group / 2 * 32);
    a = group % 2 == 0 ? weights.low(first) : weights.high(first);
    b = group % 2 == 0 ? weights.low(second) : weights.high(second);
  }
};

/// The same with a fifth bit elsewhere. Codes are put together as bytes, for which a register has the most places.
struct Q5_KSteps {
  static constexpr int64_t kSteps = 8, kBytes = 176;
  alignas(64) uint8_t codes[256];
  KGroups groups;
  GRAFT_ROWS_INLINE explicit Q5_KSteps(const uint8_t* block) : groups(block) {
    for (int group = 0; group < 8; ++group) {
      const uint8_t *nibbles = block + 48 + group / 2 * 32, *fifth = block + 16;
      for (int i = 0; i < 32; ++i) {
        codes[group * 32 + i] = static_cast<uint8_t>(((nibbles[i] >> (group % 2 * 4)) & 15) | (((fifth[i] >> group) & 1) << 4));
      }
    }
  }
  GRAFT_ROWS_INLINE void step(int64_t group, Lanes& a, Lanes& b) const {
    const Lanes scale = Lanes::all(groups.scale[group]), offset = Lanes::all(groups.offset[group]);
    a = Lanes::of(Codes::bytes(codes + group * 32)).times_plus(scale, offset);
    b = Lanes::of(Codes::bytes(codes + group * 32 + 16)).times_plus(scale, offset);
  }
};

/// Groups of 16; 4 bits of a code in one place and 2 in another.
struct Q6_KSteps {
  static constexpr int64_t kSteps = 8, kBytes = 210;
  alignas(64) uint8_t codes[256];  // signed
  alignas(64) float scale[16];
  GRAFT_ROWS_INLINE explicit Q6_KSteps(const uint8_t* block) {
    for (int quarter = 0; quarter < 8; ++quarter) {
      const uint8_t *low = block + quarter / 4 * 64 + quarter % 2 * 32, *high = block + 128 + quarter / 4 * 32;
      for (int i = 0; i < 32; ++i) {
        const int nibble = (low[i] >> (quarter % 4 / 2 * 4)) & 15, top = (high[i] >> (quarter % 4 * 2)) & 3;
        codes[quarter * 32 + i] = static_cast<uint8_t>((nibble | (top << 4)) - 32);
      }
    }
    Lanes::of(Codes::signed_bytes(block + 192)).times(Lanes::all_half(block + 208)).store(scale);
  }
  GRAFT_ROWS_INLINE void step(int64_t number, Lanes& a, Lanes& b) const {
    a = Lanes::of(Codes::signed_bytes(codes + number * 32)).times(Lanes::all(scale[2 * number]));
    b = Lanes::of(Codes::signed_bytes(codes + number * 32 + 16)).times(Lanes::all(scale[2 * number + 1]));
  }
};

/// 32 weights of NF4 with one scale; the first of two codes is in the high nibble.
struct Nf4Step {
  static constexpr int64_t kSteps = 1;
  const uint8_t* codes;
  Lanes table;
  GRAFT_ROWS_INLINE void step(int64_t, Lanes& a, Lanes& b) const {
    const Codes both = Codes::bytes(codes);
    a = Lanes::looked_up(table, both.down(4));
    b = Lanes::looked_up(table, both);
  }
};

}  // namespace
}  // namespace graft::kernels::detail
