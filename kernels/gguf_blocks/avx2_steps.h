#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

// Steps from codes to weights, 16 at a time. Functions, not lambdas: lambdas do not inherit the target attribute.
#define GRAFT_AVX2 __attribute__((target("avx2,f16c")))

namespace graft::kernels::detail {

GRAFT_AVX2 inline float half_at(const uint8_t* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return _cvtsh_ss(bits);
}

/// Without infinity and NaN in its scales a block has none in its weights, and rounding to bfloat16 gets cheaper.
inline bool finite_half(const uint8_t* p) { return (p[1] & 0x7c) != 0x7c; }

GRAFT_AVX2 inline __m128i load16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
GRAFT_AVX2 inline __m256i load32(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

/// Round to nearest even, for values that are not NaN; the result is in the low half of each lane.
GRAFT_AVX2 inline __m256i rounded_bfloat16(__m256 values) {
  const __m256i bits = _mm256_castps_si256(values);
  const __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), even), 16);
}

GRAFT_AVX2 inline __m256i rounded_bfloat16_or_nan(__m256 values) {
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(_mm256_castps_si256(values), 16), _mm256_set1_epi32(0x40));
  return _mm256_blendv_epi8(rounded_bfloat16(values), quiet, _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q)));
}

GRAFT_AVX2 inline void store16(__m256i first, __m256i second, uint16_t* out) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(_mm256_packus_epi32(first, second), 0xd8));
}

GRAFT_AVX2 inline void store16(__m256 first, __m256 second, float* out) {
  _mm256_storeu_ps(out, first);
  _mm256_storeu_ps(out + 8, second);
}

GRAFT_AVX2 inline void store16(__m256 first, __m256 second, uint16_t* out) { store16(rounded_bfloat16(first), rounded_bfloat16(second), out); }

/// 16 signed codes times a scale.
template <class Out>
GRAFT_AVX2 inline void scaled16(__m128i codes, __m256 scale, Out* out) {
  const __m256 first = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
  const __m256 second = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)));
  store16(_mm256_mul_ps(first, scale), _mm256_mul_ps(second, scale), out);
}

/// 16 codes times a scale, plus an offset; in two roundings, as the reference has it.
template <class Out>
GRAFT_AVX2 inline void shifted16(__m128i codes, __m256 scale, __m256 offset, Out* out) {
  const __m256 first = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
  const __m256 second = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)));
  store16(_mm256_add_ps(_mm256_mul_ps(first, scale), offset), _mm256_add_ps(_mm256_mul_ps(second, scale), offset), out);
}

/// 32 bits to 32 bytes that are 16 where the bit is set: the fifth bit of a code.
GRAFT_AVX2 inline __m256i fifth_bits(const uint8_t* word) {
  int32_t bits = 0;
  std::memcpy(&bits, word, sizeof bits);
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i picked = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201ull));
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, picked), picked), _mm256_set1_epi8(16));
}

/// 16 bytes to 32 codes: the low nibbles, then the high ones.
GRAFT_AVX2 inline __m256i nibbles32(const uint8_t* bytes) {
  const __m128i packed = load16(bytes);
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(packed, 4), packed), _mm256_set1_epi8(15));
}

GRAFT_AVX2 inline __m128i low16(__m256i codes) { return _mm256_castsi256_si128(codes); }
GRAFT_AVX2 inline __m128i high16(__m256i codes) { return _mm256_extracti128_si256(codes, 1); }

}  // namespace graft::kernels::detail
