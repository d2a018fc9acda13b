#pragma once

// Private to the tile variant: hidden rows and words in the orders that its two products take. All operands are whole tiles of 1 KiB one
// after the other, so that a tile load takes 16 neighbouring lines whatever the strides of the matrices are.

#include <cstdint>

#include "kernels/head_loss/layout.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {

constexpr uint16_t kExponent = 0x7f80;  ///< all of a bf16 value's exponent bits, as NaN and infinity have them

GRAFT_TILES_INLINE bool row_is_finite(const uint16_t* row, int64_t width) {
  const __m512i exponent = _mm512_set1_epi16(static_cast<int16_t>(kExponent));
  for (int64_t column = 0; column < width; column += 32) {
    const __m512i values = _mm512_maskz_loadu_epi16(first_of_32(width - column), row + column);
    if (_mm512_cmpeq_epi16_mask(_mm512_and_si512(values, exponent), exponent) != 0) return false;
  }
  return true;
}

/// Up to 32 rows as right operand of a product over the columns: [step of 32 columns][rows 0-15, 16-31][16 pairs][16 rows][2], zeros where
/// there is no row or column and for rows that are not finite. Returns which rows are finite.
GRAFT_TILES inline uint32_t pack_hidden(const uint16_t* rows, int64_t stride, int64_t count, int64_t width, uint16_t* packed) {
  alignas(64) uint16_t square[2 * kWordTile];
  uint32_t finite = 0;
  for (int64_t row = 0; row < count; ++row) finite |= static_cast<uint32_t>(row_is_finite(rows + row * stride, width)) << row;
  for (int64_t column = 0; column < width; column += 32, packed += 2 * kWordTile) {
    for (int64_t row = 0; row < kRowBlock; ++row) {
      const __mmask32 mask = (finite >> row & 1u) != 0 ? first_of_32(width - column) : 0;
      _mm512_store_si512(square + row * 32, _mm512_maskz_loadu_epi16(mask, rows + row * stride + column));
    }
    transpose_16(square, 64, packed);
    transpose_16(square + kWordTile, 64, packed + kWordTile);
  }
  return finite;
}

/// Up to 32 words as left operand of a product over the columns, [step of 32 columns][words 0-15, 16-31][16 words][32 columns], and, if
/// `transposed` is not null, of one over the words: [32 columns, `pitch` values apart][columns 0-15, 16-31][16 columns][32 words].
GRAFT_TILES inline void pack_words(const uint16_t* words, int64_t stride, int64_t count, int64_t width, uint16_t* straight,
                                   uint16_t* transposed, int64_t pitch) {
  alignas(64) uint16_t left[kWordTile], right[kWordTile];
  for (int64_t column = 0; column < width; column += 32, straight += 2 * kWordTile) {
    const __mmask32 mask = first_of_32(width - column);
    // The next 32 words, as they lie: 32 rows at once are more streams than the processor follows by itself. A number, since behind the last
    // words it is the address of nothing.
    const uintptr_t ahead = reinterpret_cast<uintptr_t>(words) + static_cast<uintptr_t>(2 * kGranule * (stride + column));
    for (int64_t pair = 0; pair < 16; ++pair) {
      const uint16_t* source = words + 2 * pair * stride + column;
      for (const int64_t line : {2 * pair, 2 * pair + 1}) _mm_prefetch(reinterpret_cast<const char*>(ahead + static_cast<uintptr_t>(64 * line)), _MM_HINT_T1);
      const __m512i even = _mm512_maskz_loadu_epi16(2 * pair < count ? mask : 0, source);
      const __m512i odd = _mm512_maskz_loadu_epi16(2 * pair + 1 < count ? mask : 0, source + stride);
      _mm512_store_si512(straight + 64 * pair, even);
      _mm512_store_si512(straight + 64 * pair + 32, odd);
      if (transposed == nullptr) continue;
      const Pairs pairs = interleave(even, odd);
      _mm512_store_si512(left + 32 * pair, pairs.first);
      _mm512_store_si512(right + 32 * pair, pairs.second);
    }
    if (transposed == nullptr) continue;
    transpose_16(left, 64, transposed);
    transpose_16(right, 64, transposed + kWordTile);
    transposed += pitch;
  }
}

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
