#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

// What all x86 variants read from a block: its scales, and 32 codes at a time as bytes. Functions, not lambdas: lambdas do not inherit the
// target attribute.
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

/// Scales and minima (as terms to be added) of the 8 groups of Q4_K and Q5_K; their 6-bit fields are taken apart four at a time.
struct KGroups {
  alignas(32) float scale[8];
  alignas(32) float offset[8];

  GRAFT_AVX2 explicit KGroups(const uint8_t* b) {
    uint32_t word[3];
    std::memcpy(word, b + 4, sizeof word);
    const auto joined = [](uint32_t low, uint32_t high) { return static_cast<long long>(low | static_cast<uint64_t>(high) << 32); };
    const long long scales = joined(word[0] & 0x3f3f3f3fu, (word[2] & 0x0f0f0f0fu) | ((word[0] >> 2) & 0x30303030u));
    const long long minima = joined(word[1] & 0x3f3f3f3fu, ((word[2] >> 4) & 0x0f0f0f0fu) | ((word[1] >> 2) & 0x30303030u));
    const __m256 scale_codes = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(scales)));
    const __m256 minimum_codes = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(minima)));
    _mm256_store_ps(scale, _mm256_mul_ps(_mm256_set1_ps(half_at(b)), scale_codes));
    _mm256_store_ps(offset, _mm256_mul_ps(_mm256_set1_ps(-half_at(b + 2)), minimum_codes));
  }
};

}  // namespace graft::kernels::detail
