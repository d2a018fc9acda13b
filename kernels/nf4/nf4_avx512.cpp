#include <algorithm>
#include <cmath>

#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "kernels/base/x86_intrinsics.h"
#include "kernels/nf4/variants.h"

#if defined(__x86_64__) && defined(__GNUC__)

#define GRAFT_AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace graft::kernels::detail {
namespace {

constexpr int64_t kRun = 32;  // weights in 16 bytes; every block holds whole runs
constexpr int64_t kScales = 64;
constexpr float kSmallestPlain = 0x1p-120f, kLargestPlain = 0x1p120f;  // the table's values lie between 0.07 and 1, or are 0

/// The 16 values of a block in bfloat16, twice, so that the fifth bit of an index does not count.
GRAFT_AVX512 inline __m512i block_table(__m512 table, float scale) {
  const __m512 values = _mm512_mul_ps(table, _mm512_set1_ps(scale));
  // The processor's own rounding gives the same bits but for NaN and subnormal results.
  if (std::fabs(scale) > kSmallestPlain && std::fabs(scale) < kLargestPlain) {
    return _mm512_broadcast_i64x4((__m256i)_mm512_cvtneps_pbh(values));
  }
  const __m512i bits = _mm512_castps_si512(values);
  const __m512i even = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), even), 16);
  const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
  const __m512i words = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q), quiet);
  return _mm512_broadcast_i64x4(_mm512_cvtepi32_epi16(words));
}

/// 16 bytes to 32 weights: a byte's two codes become the two indices of a pair.
GRAFT_AVX512 inline __m512i look_up(__m512i table, const uint8_t* bytes) {
  const __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  return _mm512_permutexvar_epi16(_mm512_or_si512(_mm512_srli_epi32(codes, 4), _mm512_slli_epi32(codes, 16)), table);
}

GRAFT_AVX512 inline void expand_block(__m512i table, const uint8_t* codes, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; i += kRun) _mm512_storeu_si512(out + i, look_up(table, codes + i / 2));
}

}  // namespace

bool nf4_avx512_supported() { return cpu_features().avx512 && cpu_features().avx512_bf16; }

GRAFT_AVX512 void dequantize_nf4_avx512(const Nf4Weight& weight, int64_t first, std::span<uint16_t> out) {
  const auto count = static_cast<int64_t>(out.size());
  const int64_t whole = count / kRun * kRun, first_block = first / weight.block_size;
  const int64_t blocks = (whole + weight.block_size - 1) / weight.block_size;
  const __m512 table = _mm512_loadu_ps(nf4_table().data());
  float scales[kScales];
  for (int64_t block = 0; block < blocks; ++block) {
    if (block % kScales == 0) block_scales(weight, first_block + block, std::min(kScales, blocks - block), scales);
    const int64_t begin = block * weight.block_size;
    expand_block(block_table(table, scales[block % kScales]), weight.codes.data() + (first + begin) / 2, std::min(weight.block_size, whole - begin),
                 out.data() + begin);
  }
  if (whole == count) return;
  // The rest may begin inside a block; expand it from that block's start and keep its end.
  const int64_t begin = whole / weight.block_size * weight.block_size;
  uint16_t rest[kLargestNf4Block];
  dequantize_nf4_portable(weight, first + begin, {rest, static_cast<size_t>(count - begin)});
  std::copy(rest + whole - begin, rest + count - begin, out.data() + whole);
}

}  // namespace graft::kernels::detail

#else

namespace graft::kernels::detail {

bool nf4_avx512_supported() { return false; }
void dequantize_nf4_avx512(const Nf4Weight&, int64_t, std::span<uint16_t>) { GRAFT_ASSERT(nf4_avx512_supported()); }

}  // namespace graft::kernels::detail

#endif
