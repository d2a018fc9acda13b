#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "kernels/gguf_blocks/variants.h"

#if defined(__x86_64__)

#include "kernels/gguf_blocks/avx2_steps.h"

#define GRAFT_EXPAND GRAFT_AVX2

namespace graft::kernels::detail {
namespace {

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

/// 32 codes times a scale for each half.
template <class Out>
GRAFT_AVX2 inline void scaled32(__m256i codes, float first, float second, Out* out) {
  scaled16(low16(codes), _mm256_set1_ps(first), out);
  scaled16(high16(codes), _mm256_set1_ps(second), out + 16);
}

template <class Out>
GRAFT_AVX2 inline void shifted32(__m256i codes, float scale, float offset, Out* out) {
  const __m256 factor = _mm256_set1_ps(scale), term = _mm256_set1_ps(offset);
  shifted16(low16(codes), factor, term, out);
  shifted16(high16(codes), factor, term, out + 16);
}

}  // namespace
}  // namespace graft::kernels::detail

#include "kernels/gguf_blocks/x86_blocks-inl.h"

namespace graft::kernels::detail {
namespace {

GRAFT_AVX2 inline __m256 load8(const uint8_t* p, GgmlType type) {
  if (type == GgmlType::kF32) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  const __m128i bits = load16(p);
  return type == GgmlType::kF16 ? _mm256_cvtph_ps(bits) : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

GRAFT_AVX2 inline void store16_or_nan(__m256 first, __m256 second, float* out) { store16(first, second, out); }
GRAFT_AVX2 inline void store16_or_nan(__m256 first, __m256 second, uint16_t* out) {
  store16(rounded_bfloat16_or_nan(first), rounded_bfloat16_or_nan(second), out);
}

/// F32, F16 and BF16, 16 values at a time; what is left goes the plain way.
template <GgmlType kType, class Out>
GRAFT_AVX2 void convert(const uint8_t* values, size_t count, Out* out) {
  constexpr size_t kSize = kType == GgmlType::kF32 ? 4 : 2;
  const size_t whole = count / 16 * 16;
  for (size_t i = 0; i < whole; i += 16) store16_or_nan(load8(values + i * kSize, kType), load8(values + (i + 8) * kSize, kType), out + i);
  dequantize_reference(kType, values + whole * kSize, count - whole, out + whole);
}

template <class Out>
void dispatch(GgmlType type, const uint8_t* blocks, size_t count, Out* out) {
  switch (type) {
    case GgmlType::kF32: return convert<GgmlType::kF32>(blocks, count, out);
    case GgmlType::kF16: return convert<GgmlType::kF16>(blocks, count, out);
    case GgmlType::kBF16: return convert<GgmlType::kBF16>(blocks, count, out);
    default: GRAFT_ASSERT(expand_quantised(type, blocks, count, out));
  }
}

}  // namespace

bool avx2_supported() { return cpu_features().avx2 && cpu_features().f16c; }

void dequantize_avx2(GgmlType type, const uint8_t* blocks, size_t count, float* out) { dispatch(type, blocks, count, out); }
void dequantize_avx2(GgmlType type, const uint8_t* blocks, size_t count, uint16_t* out) { dispatch(type, blocks, count, out); }

}  // namespace graft::kernels::detail

#else

namespace graft::kernels::detail {

bool avx2_supported() { return false; }
void dequantize_avx2(GgmlType, const uint8_t*, size_t, float*) { GRAFT_ASSERT(avx2_supported()); }
void dequantize_avx2(GgmlType, const uint8_t*, size_t, uint16_t*) { GRAFT_ASSERT(avx2_supported()); }

}  // namespace graft::kernels::detail

#endif
