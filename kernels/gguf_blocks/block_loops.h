#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/base/bfloat16.h"
#include "kernels/base/error.h"
#include "kernels/gguf_blocks/gguf_blocks.h"
#include "kernels/gguf_blocks/half.h"

// Loops of fixed length over whole blocks, which compilers turn into vector code for any processor.

namespace graft::kernels::detail {

inline float read_half(const uint8_t* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return half_to_float_inline(bits);
}

struct Q8_0Block {
  static constexpr size_t kElements = 32, kBytes = 34;
  static inline void expand(const uint8_t* block, float* out) {
    const float scale = read_half(block);
    for (size_t i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
  }
};

template <int kZero>
struct SymmetricNibbles {
  static inline void expand(const uint8_t* codes, float scale, float* out) {
    for (size_t i = 0; i < 16; ++i) out[i] = scale * static_cast<float>((codes[i] & 15) - kZero);
    for (size_t i = 0; i < 16; ++i) out[16 + i] = scale * static_cast<float>((codes[i] >> 4) - kZero);
  }
};

struct Q4_0Block {
  static constexpr size_t kElements = 32, kBytes = 18;
  static inline void expand(const uint8_t* block, float* out) { SymmetricNibbles<8>::expand(block + 2, read_half(block), out); }
};

struct Q4_1Block {
  static constexpr size_t kElements = 32, kBytes = 20;
  static inline void expand(const uint8_t* block, float* out) {
    const float scale = read_half(block), minimum = read_half(block + 2);
    const uint8_t* codes = block + 4;
    for (size_t i = 0; i < 16; ++i) out[i] = scale * static_cast<float>(codes[i] & 15) + minimum;
    for (size_t i = 0; i < 16; ++i) out[16 + i] = scale * static_cast<float>(codes[i] >> 4) + minimum;
  }
};

/// Code i of a block of 32 whose fifth bits lie in one word.
inline void codes_5bit(const uint8_t* high_bits, const uint8_t* nibbles, int32_t* codes) {
  uint32_t high = 0;
  std::memcpy(&high, high_bits, sizeof high);
  for (uint32_t i = 0; i < 16; ++i) codes[i] = static_cast<int32_t>((nibbles[i] & 15u) | (((high >> i) & 1u) << 4));
  for (uint32_t i = 0; i < 16; ++i) codes[16 + i] = static_cast<int32_t>((nibbles[i] >> 4) | (((high >> (16 + i)) & 1u) << 4));
}

struct Q5_0Block {
  static constexpr size_t kElements = 32, kBytes = 22;
  static inline void expand(const uint8_t* block, float* out) {
    const float scale = read_half(block);
    int32_t codes[32];
    codes_5bit(block + 2, block + 6, codes);
    for (size_t i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(codes[i] - 16);
  }
};

struct Q5_1Block {
  static constexpr size_t kElements = 32, kBytes = 24;
  static inline void expand(const uint8_t* block, float* out) {
    const float scale = read_half(block), minimum = read_half(block + 2);
    int32_t codes[32];
    codes_5bit(block + 4, block + 8, codes);
    for (size_t i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(codes[i]) + minimum;
  }
};

/// The scale and the minimum of each group of 32 in a block of Q4_K or Q5_K.
struct GroupScales {
  float scale[8], minimum[8];
  inline explicit GroupScales(const uint8_t* block) {
    const float super_scale = read_half(block), super_minimum = read_half(block + 2);
    const uint8_t* s = block + 4;
    for (size_t j = 0; j < 4; ++j) {
      scale[j] = super_scale * static_cast<float>(s[j] & 63);
      minimum[j] = super_minimum * static_cast<float>(s[j + 4] & 63);
      scale[j + 4] = super_scale * static_cast<float>((s[j + 8] & 15) | ((s[j] >> 6) << 4));
      minimum[j + 4] = super_minimum * static_cast<float>((s[j + 8] >> 4) | ((s[j + 4] >> 6) << 4));
    }
  }
};

struct Q4_KBlock {
  static constexpr size_t kElements = 256, kBytes = 144;
  static inline void expand(const uint8_t* block, float* out) {
    const GroupScales groups(block);
    for (size_t j = 0; j < 8; j += 2) {
      const uint8_t* codes = block + 16 + j / 2 * 32;
      const float low_scale = groups.scale[j], low_minimum = groups.minimum[j];
      const float high_scale = groups.scale[j + 1], high_minimum = groups.minimum[j + 1];
      float *low = out + j * 32, *high = low + 32;
      for (size_t i = 0; i < 32; ++i) low[i] = low_scale * static_cast<float>(codes[i] & 15) - low_minimum;
      for (size_t i = 0; i < 32; ++i) high[i] = high_scale * static_cast<float>(codes[i] >> 4) - high_minimum;
    }
  }
};

struct Q5_KBlock {
  static constexpr size_t kElements = 256, kBytes = 176;
  static inline void expand(const uint8_t* block, float* out) {
    const GroupScales groups(block);
    const uint8_t* fifth = block + 16;
    for (size_t j = 0; j < 8; ++j) {
      const uint8_t* codes = block + 48 + j / 2 * 32;
      const unsigned shift = j % 2 * 4;
      const float scale = groups.scale[j], minimum = groups.minimum[j];
      for (size_t i = 0; i < 32; ++i) {
        const int code = ((codes[i] >> shift) & 15) | (((fifth[i] >> j) & 1) << 4);
        out[j * 32 + i] = scale * static_cast<float>(code) - minimum;
      }
    }
  }
};

struct Q6_KBlock {
  static constexpr size_t kElements = 256, kBytes = 210;
  static inline void expand(const uint8_t* block, float* out) {
    const float super_scale = read_half(block + 208);
    for (size_t group = 0; group < 16; ++group) {
      const size_t within = group % 8 * 16;  // place in its half of 128
      const uint8_t* low = block + group / 8 * 64 + within % 64;
      const uint8_t* high = block + 128 + group / 8 * 32 + within % 32;
      const unsigned low_shift = within / 64 * 4, high_shift = within / 32 * 2;
      const float scale = super_scale * static_cast<float>(static_cast<int8_t>(block[192 + group]));
      for (size_t i = 0; i < 16; ++i) {
        const int code = ((low[i] >> low_shift) & 15) | (((high[i] >> high_shift) & 3) << 4);
        out[group * 16 + i] = scale * static_cast<float>(code - 32);
      }
    }
  }
};

/// Plain types are taken 64 at a time.
template <GgmlType kType>
struct PlainRun {
  static constexpr size_t kElements = 64, kBytes = kElements * (kType == GgmlType::kF32 ? 4 : 2);
  static inline void expand(const uint8_t* run, float* out) {
    if constexpr (kType == GgmlType::kF32) {
      std::memcpy(out, run, kBytes);
    } else {
      uint16_t bits[kElements];
      std::memcpy(bits, run, kBytes);
      for (size_t i = 0; i < kElements; ++i) out[i] = kType == GgmlType::kF16 ? half_to_float_inline(bits[i]) : bfloat16_to_float(bits[i]);
    }
  }
};

template <class Block>
inline void expand_run(const uint8_t* blocks, size_t count, float* out) {
  for (size_t b = 0; b < count; ++b) Block::expand(blocks + b * Block::kBytes, out + b * Block::kElements);
}

template <class Block>
inline void expand_run(const uint8_t* blocks, size_t count, uint16_t* out) {
  for (size_t b = 0; b < count; ++b) {
    alignas(64) float values[Block::kElements];
    Block::expand(blocks + b * Block::kBytes, values);
    for (size_t i = 0; i < Block::kElements; ++i) out[b * Block::kElements + i] = float_to_bfloat16(values[i]);
  }
}

}  // namespace graft::kernels::detail
