#pragma once

// Included by each x86 variant after its steps (GRAFT_EXPAND, scaled32, shifted32): what the codes of a block are, 32 at a time, and the loop
// over blocks. One text for AVX2 and AVX-512.

#include "kernels/gguf_blocks/avx2_steps.h"
#include "kernels/gguf_blocks/variants.h"

namespace graft::kernels::detail {
namespace {

template <class Out>
GRAFT_EXPAND inline void scaled32(__m256i codes, float scale, Out* out) { scaled32(codes, scale, scale, out); }

struct Q8_0 {
  static constexpr size_t kElements = 32, kBytes = 34;
  static bool finite(const uint8_t* b) { return finite_half(b); }
  template <class Out>
  GRAFT_EXPAND static void expand(const uint8_t* b, Out* out) {
    scaled32(load32(b + 2), half_at(b), out);
  }
};

struct Q4_0 {
  static constexpr size_t kElements = 32, kBytes = 18;
  static bool finite(const uint8_t* b) { return finite_half(b); }
  template <class Out>
  GRAFT_EXPAND static void expand(const uint8_t* b, Out* out) {
    scaled32(_mm256_sub_epi8(nibbles32(b + 2), _mm256_set1_epi8(8)), half_at(b), out);
  }
};

struct Q4_1 {
  static constexpr size_t kElements = 32, kBytes = 20;
  static bool finite(const uint8_t* b) { return finite_half(b) && finite_half(b + 2); }
  template <class Out>
  GRAFT_EXPAND static void expand(const uint8_t* b, Out* out) {
    shifted32(nibbles32(b + 4), half_at(b), half_at(b + 2), out);
  }
};

struct Q5_0 {
  static constexpr size_t kElements = 32, kBytes = 22;
  static bool finite(const uint8_t* b) { return finite_half(b); }
  template <class Out>
  GRAFT_EXPAND static void expand(const uint8_t* b, Out* out) {
    const __m256i codes = _mm256_or_si256(nibbles32(b + 6), fifth_bits(b + 2));
    scaled32(_mm256_sub_epi8(codes, _mm256_set1_epi8(16)), half_at(b), out);
  }
};

struct Q5_1 {
  static constexpr size_t kElements = 32, kBytes = 24;
  static bool finite(const uint8_t* b) { return finite_half(b) && finite_half(b + 2); }
  template <class Out>
  GRAFT_EXPAND static void expand(const uint8_t* b, Out* out) {
    shifted32(_mm256_or_si256(nibbles32(b + 8), fifth_bits(b + 4)), half_at(b), half_at(b + 2), out);
  }
};

struct Q4_K {
  static constexpr size_t kElements = 256, kBytes = 144;
  static bool finite(const uint8_t* b) { return finite_half(b) && finite_half(b + 2); }
  template <class Out>
  GRAFT_EXPAND static void expand(const uint8_t* b, Out* out) {
    const KGroups groups(b);
    const __m256i mask = _mm256_set1_epi8(15);
    for (size_t j = 0; j < 8; j += 2) {
      const __m256i packed = load32(b + 16 + j * 16);
      shifted32(_mm256_and_si256(packed, mask), groups.scale[j], groups.offset[j], out + j * 32);
      shifted32(_mm256_and_si256(_mm256_srli_epi16(packed, 4), mask), groups.scale[j + 1], groups.offset[j + 1], out + j * 32 + 32);
    }
  }
};

struct Q5_K {
  static constexpr size_t kElements = 256, kBytes = 176;
  static bool finite(const uint8_t* b) { return finite_half(b) && finite_half(b + 2); }
  template <class Out>
  GRAFT_EXPAND static void expand(const uint8_t* b, Out* out) {
    const KGroups groups(b);
    const __m256i mask = _mm256_set1_epi8(15), fifth = load32(b + 16);
    for (size_t j = 0; j < 8; ++j) {
      const __m256i packed = load32(b + 48 + j / 2 * 32);
      const __m256i nibbles = _mm256_and_si256(j % 2 == 0 ? packed : _mm256_srli_epi16(packed, 4), mask);
      const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << j));
      const __m256i high = _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(fifth, bit), bit), _mm256_set1_epi8(16));
      shifted32(_mm256_or_si256(nibbles, high), groups.scale[j], groups.offset[j], out + j * 32);
    }
  }
};

struct Q6_K {
  static constexpr size_t kElements = 256, kBytes = 210;
  static bool finite(const uint8_t* b) { return finite_half(b + 208); }
  template <class Out>
  GRAFT_EXPAND static void expand(const uint8_t* b, Out* out) {
    alignas(32) float scale[16];
    const __m256 super_scale = _mm256_set1_ps(half_at(b + 208));
    const __m128i codes = load16(b + 192);
    _mm256_store_ps(scale, _mm256_mul_ps(super_scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes))));
    _mm256_store_ps(scale + 8, _mm256_mul_ps(super_scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)))));
    for (size_t half = 0; half < 2; ++half) {
      const __m256i high = load32(b + 128 + half * 32);
      for (size_t quarter = 0; quarter < 4; ++quarter) {
        const __m256i packed = load32(b + half * 64 + quarter % 2 * 32);
        const size_t place = half * 4 + quarter;
        const __m256i all = whole_codes(packed, high, quarter);
        scaled32(all, scale[2 * place], scale[2 * place + 1], out + place * 32);
      }
    }
  }

 private:
  GRAFT_EXPAND static __m256i whole_codes(__m256i packed, __m256i high, size_t quarter) {
    const __m256i low = _mm256_and_si256(quarter < 2 ? packed : _mm256_srli_epi16(packed, 4), _mm256_set1_epi8(15));
    const __m256i moved = _mm256_srl_epi16(high, _mm_cvtsi32_si128(static_cast<int>(2 * quarter)));
    const __m256i top = _mm256_slli_epi16(_mm256_and_si256(moved, _mm256_set1_epi8(3)), 4);
    return _mm256_sub_epi8(_mm256_or_si256(low, top), _mm256_set1_epi8(32));
  }
};

template <class Block, class Out>
GRAFT_EXPAND void expand_blocks(GgmlType type, const uint8_t* blocks, size_t count, Out* out) {
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* block = blocks + i * Block::kBytes;
    Out* values = out + i * Block::kElements;
    if (Block::finite(block)) {
      Block::expand(block, values);
    } else {
      dequantize_reference(type, block, 1, values);
    }
  }
}

/// Types with blocks; false for plain ones.
template <class Out>
bool expand_quantised(GgmlType type, const uint8_t* blocks, size_t count, Out* out) {
  switch (type) {
    case GgmlType::kQ8_0: return expand_blocks<Q8_0>(type, blocks, count, out), true;
    case GgmlType::kQ4_0: return expand_blocks<Q4_0>(type, blocks, count, out), true;
    case GgmlType::kQ4_1: return expand_blocks<Q4_1>(type, blocks, count, out), true;
    case GgmlType::kQ5_0: return expand_blocks<Q5_0>(type, blocks, count, out), true;
    case GgmlType::kQ5_1: return expand_blocks<Q5_1>(type, blocks, count, out), true;
    case GgmlType::kQ4_K: return expand_blocks<Q4_K>(type, blocks, count, out), true;
    case GgmlType::kQ5_K: return expand_blocks<Q5_K>(type, blocks, count, out), true;
    case GgmlType::kQ6_K: return expand_blocks<Q6_K>(type, blocks, count, out), true;
    default: return false;
  }
}

}  // namespace
}  // namespace graft::kernels::detail
