#include "kernels/base/cpu_features.h"
#include "kernels/base/error.h"
#include "kernels/nf4/quantize_loops.h"
#include "kernels/nf4/variants.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define GRAFT_AVX2 __attribute__((target("avx2")))

namespace graft::kernels::detail {
namespace {

constexpr size_t kRun = 32;  // weights in 16 bytes; every block holds whole runs

/// The 16 values of one block.
struct Table {
  __m256 low, high;
};

GRAFT_AVX2 inline Table scaled_table(float scale) {
  const __m256 factor = _mm256_set1_ps(scale);
  return {_mm256_mul_ps(_mm256_loadu_ps(nf4_table().data()), factor), _mm256_mul_ps(_mm256_loadu_ps(nf4_table().data() + 8), factor)};
}

/// 16 bytes to 32 codes of one byte each, in the order of the weights.
GRAFT_AVX2 inline void split_nibbles(const uint8_t* bytes, __m128i& first, __m128i& second) {
  const __m128i mask = _mm_set1_epi8(15), packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  const __m128i high = _mm_and_si128(_mm_srli_epi16(packed, 4), mask), low = _mm_and_si128(packed, mask);
  first = _mm_unpacklo_epi8(high, low);
  second = _mm_unpackhi_epi8(high, low);
}

/// A lookup in 16 floats is two in 8, between which the code's top bit, moved to the sign, decides.
GRAFT_AVX2 inline void look_up_8(const Table& table, __m128i codes, float* out) {
  const __m256i index = _mm256_cvtepu8_epi32(codes);
  const __m256 low = _mm256_permutevar8x32_ps(table.low, index), high = _mm256_permutevar8x32_ps(table.high, index);
  _mm256_storeu_ps(out, _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28))));
}

GRAFT_AVX2 void expand_run(const Table& table, const uint8_t* bytes, float* out) {
  __m128i first, second;
  split_nibbles(bytes, first, second);
  look_up_8(table, first, out);
  look_up_8(table, _mm_srli_si128(first, 8), out + 8);
  look_up_8(table, second, out + 16);
  look_up_8(table, _mm_srli_si128(second, 8), out + 24);
}

/// The table in bfloat16, its low and its high bytes apart, since a byte shuffle looks up 16 bytes at once.
struct ByteTables {
  __m128i low, high;
};

GRAFT_AVX2 inline __m256i round_to_bfloat16(__m256 values) {
  const __m256i bits = _mm256_castps_si256(values);
  const __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), even), 16);
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
  return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q)));
}

GRAFT_AVX2 inline ByteTables byte_tables(const Table& table) {
  const __m256i packed = _mm256_packus_epi32(round_to_bfloat16(table.low), round_to_bfloat16(table.high));
  const __m256i values = _mm256_permute4x64_epi64(packed, 0xd8);
  const __m128i first = _mm256_castsi256_si128(values), second = _mm256_extracti128_si256(values, 1);
  const __m128i mask = _mm_set1_epi16(0xff);
  return {_mm_packus_epi16(_mm_and_si128(first, mask), _mm_and_si128(second, mask)),
          _mm_packus_epi16(_mm_srli_epi16(first, 8), _mm_srli_epi16(second, 8))};
}

GRAFT_AVX2 inline void look_up_16(const ByteTables& tables, __m128i codes, uint16_t* out) {
  const __m128i low = _mm_shuffle_epi8(tables.low, codes), high = _mm_shuffle_epi8(tables.high, codes);
  auto* target = reinterpret_cast<__m128i*>(out);
  _mm_storeu_si128(target, _mm_unpacklo_epi8(low, high));
  _mm_storeu_si128(target + 1, _mm_unpackhi_epi8(low, high));
}

GRAFT_AVX2 void expand_run(const ByteTables& tables, const uint8_t* bytes, uint16_t* out) {
  __m128i first, second;
  split_nibbles(bytes, first, second);
  look_up_16(tables, first, out);
  look_up_16(tables, second, out + 16);
}

GRAFT_AVX2 inline Table table_for(float scale, const float*) { return scaled_table(scale); }
GRAFT_AVX2 inline ByteTables table_for(float scale, const uint16_t*) { return byte_tables(scaled_table(scale)); }

template <class Out>
GRAFT_AVX2 void expand(const Nf4Weight& weight, int64_t first, std::span<Out> out) {
  const size_t whole = out.size() / kRun * kRun, block_size = static_cast<size_t>(weight.block_size);
  const uint8_t* codes = weight.codes.data() + first / 2;
  for (size_t begin = 0; begin < whole; begin += block_size) {
    const auto table = table_for(block_scale(weight, (first + static_cast<int64_t>(begin)) / weight.block_size), out.data());
    const size_t end = whole - begin < block_size ? whole : begin + block_size;
    for (size_t i = begin; i < end; i += kRun) expand_run(table, codes + i / 2, out.data() + i);
  }
  if (whole == out.size()) return;
  // The rest may begin inside a block; expand it from that block's start and keep its end.
  const size_t block_begin = whole / block_size * block_size;
  Out rest[4096];
  dequantize_nf4_portable(weight, first + static_cast<int64_t>(block_begin), std::span<Out>(rest, out.size() - block_begin));
  for (size_t i = whole; i < out.size(); ++i) out[i] = rest[i - block_begin];
}

}  // namespace

bool nf4_avx2_supported() { return cpu_features().avx2; }

void dequantize_nf4_avx2(const Nf4Weight& weight, int64_t first, std::span<float> out) { expand(weight, first, out); }
void dequantize_nf4_avx2(const Nf4Weight& weight, int64_t first, std::span<uint16_t> out) { expand(weight, first, out); }

GRAFT_AVX2 void quantize_blocks_avx2(std::span<const float> weights, size_t block_size, uint8_t* codes, float* absmax) {
  quantize_blocks(weights, block_size, codes, absmax);
}

}  // namespace graft::kernels::detail

#else

namespace graft::kernels::detail {

bool nf4_avx2_supported() { return false; }
void dequantize_nf4_avx2(const Nf4Weight&, int64_t, std::span<float>) { GRAFT_ASSERT(nf4_avx2_supported()); }
void dequantize_nf4_avx2(const Nf4Weight&, int64_t, std::span<uint16_t>) { GRAFT_ASSERT(nf4_avx2_supported()); }
void quantize_blocks_avx2(std::span<const float>, size_t, uint8_t*, float*) { GRAFT_ASSERT(nf4_avx2_supported()); }

}  // namespace graft::kernels::detail

#endif
