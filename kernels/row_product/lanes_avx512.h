#pragma once

// Private to the AVX-512 variant.

#include <cstdint>
#include <cstring>

#include "kernels/base/x86_intrinsics.h"
#include "kernels/gguf_blocks/avx2_steps.h"

/// Before every function of the loops in row_loops-inl.h.
#define GRAFT_ROWS __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")))
#define GRAFT_ROWS_INLINE inline __attribute__((always_inline)) GRAFT_ROWS

namespace graft::kernels::detail {
namespace {

/// 16 codes of a quantised weight, one integer each.
struct Codes {
  __m512i lanes;
  GRAFT_ROWS_INLINE static Codes bytes(const uint8_t* p) {
    return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  GRAFT_ROWS_INLINE static Codes signed_bytes(const uint8_t* p) {
    return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  GRAFT_ROWS_INLINE Codes down(int bits) const { return {_mm512_srli_epi32(lanes, static_cast<unsigned>(bits))}; }
};

/// 16 fp32 values.
struct Lanes {
  __m512 lanes;
  static constexpr int kRowsAtOnce = 8;
  GRAFT_ROWS_INLINE static Lanes zero() { return {_mm512_setzero_ps()}; }
  GRAFT_ROWS_INLINE static Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
  GRAFT_ROWS_INLINE static Lanes all(float value) { return {_mm512_set1_ps(value)}; }
  GRAFT_ROWS_INLINE static Lanes all_half(const uint8_t* p) {
    int16_t bits = 0;
    std::memcpy(&bits, p, sizeof bits);
    return {_mm512_cvtph_ps(_mm256_set1_epi16(bits))};
  }
  GRAFT_ROWS_INLINE static Lanes halves(const uint8_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  GRAFT_ROWS_INLINE static Lanes of(Codes codes) { return {_mm512_cvtepi32_ps(codes.lanes)}; }
  /// 16 pairs of bf16: the first values of the pairs, or the second ones.
  GRAFT_ROWS_INLINE static Lanes first_of_pairs(const uint8_t* p) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))}; }
  GRAFT_ROWS_INLINE static Lanes second_of_pairs(const uint8_t* p) {
    return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
  }
  /// table[code & 15]
  GRAFT_ROWS_INLINE static Lanes looked_up(Lanes table, Codes codes) { return {_mm512_permutexvar_ps(codes.lanes, table.lanes)}; }
  GRAFT_ROWS_INLINE Lanes times(Lanes other) const { return {_mm512_mul_ps(lanes, other.lanes)}; }
  GRAFT_ROWS_INLINE Lanes plus(Lanes other) const { return {_mm512_add_ps(lanes, other.lanes)}; }
  GRAFT_ROWS_INLINE Lanes times_plus(Lanes factor, Lanes term) const { return {_mm512_fmadd_ps(lanes, factor.lanes, term.lanes)}; }
  GRAFT_ROWS_INLINE void store(float* p) const { _mm512_storeu_ps(p, lanes); }
  /// Halves are added to halves.
  GRAFT_ROWS_INLINE float total() const {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
};

/// The weights scale * code + offset of nibbles. A lookup in the 16 possible weights takes less than converting every code.
struct NibbleWeights {
  Lanes table;
  GRAFT_ROWS_INLINE NibbleWeights(Lanes scale, Lanes offset)
      : table{_mm512_fmadd_ps(_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), scale.lanes, offset.lanes)} {}
  GRAFT_ROWS_INLINE Lanes low(Codes codes) const { return Lanes::looked_up(table, codes); }
  GRAFT_ROWS_INLINE Lanes high(Codes codes) const { return Lanes::looked_up(table, codes.down(4)); }
};

}  // namespace
}  // namespace graft::kernels::detail
