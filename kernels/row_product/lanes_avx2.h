#pragma once

// Private to the AVX2 variant.

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/gguf_blocks/avx2_steps.h"

/// Before every function of the loops in row_loops-inl.h.
#define GRAFT_ROWS __attribute__((target("avx2,fma,f16c")))
#define GRAFT_ROWS_INLINE inline __attribute__((always_inline)) GRAFT_ROWS

namespace graft::kernels::detail {
namespace {

/// 16 codes of a quantised weight, one integer each.
struct Codes {
  __m256i low, high;
  GRAFT_ROWS_INLINE static Codes bytes(const uint8_t* p) {
    const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepu8_epi32(all), _mm256_cvtepu8_epi32(_mm_srli_si128(all, 8))};
  }
  GRAFT_ROWS_INLINE static Codes signed_bytes(const uint8_t* p) {
    const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi8_epi32(all), _mm256_cvtepi8_epi32(_mm_srli_si128(all, 8))};
  }
  GRAFT_ROWS_INLINE Codes down(int bits) const { return {_mm256_srli_epi32(low, bits), _mm256_srli_epi32(high, bits)}; }
  GRAFT_ROWS_INLINE Codes masked(int mask) const {
    const __m256i bits = _mm256_set1_epi32(mask);
    return {_mm256_and_si256(low, bits), _mm256_and_si256(high, bits)};
  }
};

GRAFT_ROWS_INLINE __m256i load_256(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

/// A lookup in 16 floats is two in 8, between which the code's fourth bit, moved to the sign, decides.
GRAFT_ROWS_INLINE __m256 look_up_8(__m256 first, __m256 second, __m256i codes) {
  const __m256 a = _mm256_permutevar8x32_ps(first, codes), b = _mm256_permutevar8x32_ps(second, codes);
  return _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));
}

/// 16 fp32 values.
struct Lanes {
  __m256 low, high;
  static constexpr int kRowsAtOnce = 2;
  GRAFT_ROWS_INLINE static Lanes zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  GRAFT_ROWS_INLINE static Lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  GRAFT_ROWS_INLINE static Lanes all(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  GRAFT_ROWS_INLINE static Lanes all_half(const uint8_t* p) {
    uint16_t bits = 0;
    std::memcpy(&bits, p, sizeof bits);
    return all(_cvtsh_ss(bits));
  }
  GRAFT_ROWS_INLINE static Lanes halves(const uint8_t* p) {
    const auto* halves = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
  }
  GRAFT_ROWS_INLINE static Lanes of(Codes codes) { return {_mm256_cvtepi32_ps(codes.low), _mm256_cvtepi32_ps(codes.high)}; }
  /// 16 pairs of bf16: the first values of the pairs, or the second ones.
  GRAFT_ROWS_INLINE static Lanes first_of_pairs(const uint8_t* p) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(load_256(p), 16)), _mm256_castsi256_ps(_mm256_slli_epi32(load_256(p + 32), 16))};
  }
  GRAFT_ROWS_INLINE static Lanes second_of_pairs(const uint8_t* p) {
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    return {_mm256_castsi256_ps(_mm256_and_si256(load_256(p), mask)), _mm256_castsi256_ps(_mm256_and_si256(load_256(p + 32), mask))};
  }
  /// table[code & 15]
  GRAFT_ROWS_INLINE static Lanes looked_up(Lanes table, Codes codes) {
    return {look_up_8(table.low, table.high, codes.low), look_up_8(table.low, table.high, codes.high)};
  }
  GRAFT_ROWS_INLINE Lanes times(Lanes other) const { return {_mm256_mul_ps(low, other.low), _mm256_mul_ps(high, other.high)}; }
  GRAFT_ROWS_INLINE Lanes plus(Lanes other) const { return {_mm256_add_ps(low, other.low), _mm256_add_ps(high, other.high)}; }
  GRAFT_ROWS_INLINE Lanes times_plus(Lanes factor, Lanes term) const {
    return {_mm256_fmadd_ps(low, factor.low, term.low), _mm256_fmadd_ps(high, factor.high, term.high)};
  }
  GRAFT_ROWS_INLINE void store(float* p) const {
    _mm256_storeu_ps(p, low);
    _mm256_storeu_ps(p + 8, high);
  }
  /// Halves are added to halves.
  GRAFT_ROWS_INLINE float total() const {
    const __m256 eight = _mm256_add_ps(low, high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
};

/// The weights scale * code + offset of nibbles.
struct NibbleWeights {
  Lanes scale, offset;
  GRAFT_ROWS_INLINE NibbleWeights(Lanes factor, Lanes term) : scale(factor), offset(term) {}
  GRAFT_ROWS_INLINE Lanes low(Codes codes) const { return Lanes::of(codes.masked(15)).times_plus(scale, offset); }
  GRAFT_ROWS_INLINE Lanes high(Codes codes) const { return Lanes::of(codes.down(4)).times_plus(scale, offset); }
};

}  // namespace
}  // namespace graft::kernels::detail
