#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "kernels/gguf_blocks/variants.h"

#if defined(__x86_64__)

#include "kernels/gguf_blocks/avx2_blocks.h"

namespace graft::kernels::detail {
namespace {

template <class Block, class Out>
GRAFT_AVX2 void expand_blocks(GgmlType type, const uint8_t* blocks, size_t count, Out* out) {
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
    case GgmlType::kQ8_0: return expand_blocks<avx2::Q8_0>(type, blocks, count, out);
    case GgmlType::kQ4_0: return expand_blocks<avx2::Q4_0>(type, blocks, count, out);
    case GgmlType::kQ4_1: return expand_blocks<avx2::Q4_1>(type, blocks, count, out);
    case GgmlType::kQ5_0: return expand_blocks<avx2::Q5_0>(type, blocks, count, out);
    case GgmlType::kQ5_1: return expand_blocks<avx2::Q5_1>(type, blocks, count, out);
    case GgmlType::kQ4_K: return expand_blocks<avx2::Q4_K>(type, blocks, count, out);
    case GgmlType::kQ5_K: return expand_blocks<avx2::Q5_K>(type, blocks, count, out);
    case GgmlType::kQ6_K: return expand_blocks<avx2::Q6_K>(type, blocks, count, out);
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
