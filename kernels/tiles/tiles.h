#pragma once

// What every kernel on blocks of bf16 tiles needs, whichever instructions multiply them: AMX (amx_tiles.h), AVX512-BF16 (dot_tiles.h) or
// AVX2 (fma_tiles.h).
// Private to kernels/; a file that includes it compiles for any processor, since the instructions are allowed function by function with
// GRAFT_TILES.

#include "kernels/base/cpu_features.h"
#include "kernels/base/x86_intrinsics.h"
#include "kernels/tiles/aligned_buffer.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define GRAFT_HAS_TILES 1
#else
#define GRAFT_HAS_TILES 0
#endif

namespace graft::kernels {

/// AVX-512 with bf16 dot products, which is all that dot_tiles.h needs.
inline bool dot_tiles_supported() { return GRAFT_HAS_TILES != 0 && cpu_features().avx512 && cpu_features().avx512_bf16; }

/// Asks the operating system for the tiles' state at its first call; AVX-512 with bf16 conversions is required beside them.
inline bool amx_tiles_supported() { return dot_tiles_supported() && cpu_features().amx_bf16; }

/// AVX2 with fused products, which is all that fma_tiles.h needs.
inline bool fma_tiles_supported() { return GRAFT_HAS_TILES != 0 && cpu_features().avx2; }

/// True where kernels on tiles beat LibTorch's products. Where GRAFT_CPU keeps them from AMX or AVX-512 they do not: LibTorch's use it.
inline bool tiles_pay() {
  if (amx_tiles_supported()) return true;
  if (dot_tiles_supported()) return !processor_features().amx_bf16;
  return fma_tiles_supported() && !processor_features().avx512;
}

}  // namespace graft::kernels

#if GRAFT_HAS_TILES

/// Before a function or lambda body that uses tiles or vectors; the compiler itself never chooses AMX. Templates and inline functions from
/// elsewhere stay as they are. What is compiled for both kinds of processor has a namespace for each.
#if defined(GRAFT_TILES_ON_AVX2)
#define GRAFT_TILES __attribute__((target("avx2,fma")))
#define GRAFT_TILE_SPACE tiles_on_avx2
#else
#define GRAFT_TILES __attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")))
#define GRAFT_TILE_SPACE tiles_on_avx512
#endif
#define GRAFT_TILES_INLINE inline __attribute__((always_inline)) GRAFT_TILES
#define GRAFT_TILES_LAMBDA __attribute__((always_inline)) GRAFT_TILES

#if defined(GRAFT_TILES_ON_AVX2)
#include "kernels/tiles/avx512_on_avx2-inl.h"
#endif

namespace graft::kernels::inline GRAFT_TILE_SPACE {

constexpr int64_t kTileRows = 16;   ///< rows of a tile, and columns of an fp32 tile
constexpr int64_t kTileBytes = 64;  ///< bytes a row: 32 bf16 or 16 fp32
constexpr int64_t kTileDepth = 32;  ///< bf16 values that one tile product adds up

/// The left operand of a product of blocks: 32 rows as two tiles of 16, each step 32 values of the reduction.
struct LeftTiles {
  const uint16_t *upper, *lower;
  int64_t step;                   ///< values from a step's tiles to the next one's
  int64_t row_bytes = kTileBytes; ///< from row to row
};

/// The right operand: 32 columns as two tiles of 16, each of 16 rows of pairs; see interleave(). Where fewer columns are wanted or the last
/// step ends in pairs of zeros, they may be left out.
struct RightTiles {
  const uint16_t *first, *second;
  int64_t step;
  int64_t columns = 2 * kTileRows;
  int64_t last_pairs = kTileDepth / 2;
};

/// 32 x 32 fp32 sums as four tiles: 16 rows at `upper` and 16 at `lower`, in both columns 16 to 31 `column_step` values further.
struct SumTiles {
  float *upper, *lower;
  int64_t column_step;
  int64_t row_bytes = kTileBytes;
};

/// An operand that passes only once and must not push the other out of the first cache.
enum class Passing { kNone, kLeft, kRight };

/// Nothing to do between the steps of a product.
struct Nothing {
  void operator()() const {}
};

/// The compiler does not know that a tile load reads memory: call this between vector stores and the tile loads that see them.
inline void before_tile_loads() { __asm__ volatile("" ::: "memory"); }

/// 32 fp32 values to bf16, nearest even; NaN stays NaN, subnormal numbers become 0 as in the tile product itself.
GRAFT_TILES_INLINE __m512i round_to_bfloat16(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
GRAFT_TILES_INLINE __m256i round_to_bfloat16(__m512 values) { return (__m256i)_mm512_cvtneps_pbh(values); }

/// 16 bf16 values to fp32, exactly.
GRAFT_TILES_INLINE __m512 widen_bfloat16(__m256i values) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(values), 16));
}

/// Two rows of 32 bf16 values to 32 pairs, as the right-hand tile of a product wants them.
struct Pairs {
  __m512i first, second;  ///< of columns 0 to 15 and 16 to 31
};
GRAFT_TILES_INLINE Pairs interleave(__m512i even_row, __m512i odd_row) {
  const __m512i even_low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(even_row));
  const __m512i even_high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(even_row, 1));
  const __m512i odd_low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(odd_row));
  const __m512i odd_high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(odd_row, 1));
  return {_mm512_or_si512(even_low, _mm512_slli_epi32(odd_low, 16)), _mm512_or_si512(even_high, _mm512_slli_epi32(odd_high, 16))};
}

/// Puts 4 x 4 transposes into the four 128-bit lanes of four rows.
GRAFT_TILES_INLINE void transpose_in_lanes(__m512i* rows) {
  const __m512i a = _mm512_unpacklo_epi32(rows[0], rows[1]), b = _mm512_unpackhi_epi32(rows[0], rows[1]);
  const __m512i c = _mm512_unpacklo_epi32(rows[2], rows[3]), d = _mm512_unpackhi_epi32(rows[2], rows[3]);
  rows[0] = _mm512_unpacklo_epi64(a, c);
  rows[1] = _mm512_unpackhi_epi64(a, c);
  rows[2] = _mm512_unpacklo_epi64(b, d);
  rows[3] = _mm512_unpackhi_epi64(b, d);
}

/// Transposes 16 x 16 values of 4 bytes (fp32, or pairs of bf16) into one tile of 1 KiB, or to rows further apart. Changes `rows`.
GRAFT_TILES_INLINE void transpose_16(__m512i* rows, void* tile, int64_t tile_stride = kTileBytes) {
  for (int i = 0; i < 16; i += 4) transpose_in_lanes(rows + i);
  // Register i + j holds columns j, j + 4, j + 8 and j + 12 of rows i to i + 3; bring the four groups of rows together.
  char* lines = static_cast<char*>(tile);
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(rows[j], rows[j + 4], 0x88), b = _mm512_shuffle_i32x4(rows[j], rows[j + 4], 0xdd);
    const __m512i c = _mm512_shuffle_i32x4(rows[j + 8], rows[j + 12], 0x88), d = _mm512_shuffle_i32x4(rows[j + 8], rows[j + 12], 0xdd);
    _mm512_storeu_si512(lines + tile_stride * j, _mm512_shuffle_i32x4(a, c, 0x88));
    _mm512_storeu_si512(lines + tile_stride * (j + 4), _mm512_shuffle_i32x4(b, d, 0x88));
    _mm512_storeu_si512(lines + tile_stride * (j + 8), _mm512_shuffle_i32x4(a, c, 0xdd));
    _mm512_storeu_si512(lines + tile_stride * (j + 12), _mm512_shuffle_i32x4(b, d, 0xdd));
  }
}
GRAFT_TILES_INLINE void transpose_16(const void* source, int64_t stride_bytes, void* tile) {
  __m512i rows[16];
  for (int i = 0; i < 16; ++i) rows[i] = _mm512_loadu_si512(static_cast<const char*>(source) + i * stride_bytes);
  transpose_16(rows, tile);
}

/// The first `count` (clamped to 0..32 or 0..16) of 32 or 16 lanes.
inline uint32_t first_of_32(int64_t count) { return count >= 32 ? 0xffffffffu : (count <= 0 ? 0u : (1u << count) - 1u); }
inline uint16_t first_of_16(int64_t count) {
  return static_cast<uint16_t>(count >= 16 ? 0xffffu : (count <= 0 ? 0u : (1u << count) - 1u));
}

}  // namespace graft::kernels::inline GRAFT_TILE_SPACE

#endif
