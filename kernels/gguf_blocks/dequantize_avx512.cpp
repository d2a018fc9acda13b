#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "kernels/base/x86_intrinsics.h"
#include "kernels/gguf_blocks/variants.h"

#if defined(__x86_64__)

#include "kernels/gguf_blocks/avx2_steps.h"

#define GRAFT_EXPAND __attribute__((target("avx2,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace graft::kernels::detail {
namespace {

GRAFT_EXPAND inline __m512 weights16(__m128i codes) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)); }

/// The instruction takes subnormal values for 0, but no weight is one: half-precision scales end at 2^-24, and weights are multiples of it.
GRAFT_EXPAND inline void store32(__m512 first, __m512 second, uint16_t* out) {
  _mm512_storeu_si512(out, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

GRAFT_EXPAND inline void scaled32(__m256i codes, float first, float second, uint16_t* out) {
  store32(_mm512_mul_ps(weights16(low16(codes)), _mm512_set1_ps(first)), _mm512_mul_ps(weights16(high16(codes)), _mm512_set1_ps(second)), out);
}

/// The product is exact (11 bits of a half, 6 of a group's scale, 5 of a code), so that one rounding gives what the reference's two do.
GRAFT_EXPAND inline void shifted32(__m256i codes, float scale, float offset, uint16_t* out) {
  const __m512 factor = _mm512_set1_ps(scale), term = _mm512_set1_ps(offset);
  store32(_mm512_fmadd_ps(weights16(low16(codes)), factor, term), _mm512_fmadd_ps(weights16(high16(codes)), factor, term), out);
}

}  // namespace
}  // namespace graft::kernels::detail

#include "kernels/gguf_blocks/x86_blocks-inl.h"

namespace graft::kernels::detail {

bool avx512_supported() { return avx2_supported() && cpu_features().avx512 && cpu_features().avx512_bf16; }

/// Plain types are read as quickly by AVX2: they are as long as what is written.
void dequantize_avx512(GgmlType type, const uint8_t* blocks, size_t count, uint16_t* out) {
  if (!expand_quantised(type, blocks, count, out)) dequantize_avx2(type, blocks, count, out);
}

}  // namespace graft::kernels::detail

#else

namespace graft::kernels::detail {

bool avx512_supported() { return false; }
void dequantize_avx512(GgmlType, const uint8_t*, size_t, uint16_t*) { GRAFT_ASSERT(avx512_supported()); }

}  // namespace graft::kernels::detail

#endif
