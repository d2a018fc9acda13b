#pragma once

// Private to this folder: rows of the caller's matrices to tiles and back. All operands are kept as whole tiles of 1 KiB, so that
// a tile load takes 16 neighbouring lines whatever the strides of the matrices are.

#include <cstdint>

#include "kernels/attention/schedule.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {

constexpr int64_t kTile = 512;       ///< bf16 values of a tile
constexpr int64_t kTileFloats = 256;  ///< fp32 values of a tile

/// Sizes in tiles of a head, the width filled up with zeros to a multiple of 32.
struct HeadTiles {
  int64_t width, steps, columns;  ///< steps of 32 that a product over the width takes; tiles of 16 columns
  explicit HeadTiles(int64_t of_width) : width(of_width), steps((of_width + kTileDepth - 1) / kTileDepth), columns(2 * steps) {}
  int64_t block() const { return 2 * steps * kTile; }  ///< values of 32 rows
};

/// 16 rows of 16 32-bit values, transposed in place.
GRAFT_TILES_INLINE void transpose(__m512i (&r)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {  // r[4 a + i]: rows 4a..4a+3 of columns i, i+4, i+8, i+12
    const __m512i low01 = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88), high01 = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    const __m512i low23 = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88), high23 = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    t[i] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    t[8 + i] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    t[12 + i] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

/// Up to 32 rows of one head. Rows from `rows` on and columns from `width` on read as zeros and are never touched: behind a sequence's
/// last row stands another's or nothing at all.
struct RowBlock {
  const uint16_t* data;
  int64_t stride, rows, width;

  GRAFT_TILES_INLINE __m512i load_32(int64_t row, int64_t column) const {
    if (row >= rows) return _mm512_setzero_si512();
    return _mm512_maskz_loadu_epi16(first_of_32(width - column), data + row * stride + column);
  }
  GRAFT_TILES_INLINE __m256i load_16(int64_t row, int64_t column) const {
    if (row >= rows || column >= width) return _mm256_setzero_si256();
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + row * stride + column));
  }
};

/// 32 x width as left operand, [row tile][step].
GRAFT_TILES inline void copy_rows(const RowBlock& from, const HeadTiles& head, uint16_t* to) {
  for (int64_t row = 0; row < 32; ++row)
    for (int64_t step = 0; step < head.steps; ++step) {
      uint16_t* tile = to + ((row / kTileRows) * head.steps + step) * kTile;
      _mm512_store_si512(tile + (row % kTileRows) * kTileDepth, from.load_32(row, step * kTileDepth));
    }
}

/// The transposed of 32 x width as right operand of a product over the width, [column tile of 16 rows][step].
GRAFT_TILES inline void copy_columns(const RowBlock& from, const HeadTiles& head, uint16_t* to) {
  for (int64_t half = 0; half < 2; ++half)
    for (int64_t step = 0; step < head.steps; ++step, to += kTile) {
      __m512i rows[16];
      for (int64_t i = 0; i < kTileRows; ++i) rows[i] = from.load_32(half * kTileRows + i, step * kTileDepth);
      transpose(rows);
      for (int64_t i = 0; i < kTileRows; ++i) _mm512_store_si512(to + i * kTileDepth, rows[i]);
    }
}

/// Columns [16 c, 16 c + 16) of 32 rows, two rows a register: the values of a column in rows 2i and 2i + 1 side by side.
GRAFT_TILES_INLINE void paired_rows(const RowBlock& from, int64_t column, __m512i (&pairs)[16]) {
  for (int64_t i = 0; i < 16; ++i) {
    const __m512i even = _mm512_cvtepu16_epi32(from.load_16(2 * i, column)), odd = _mm512_cvtepu16_epi32(from.load_16(2 * i + 1, column));
    pairs[i] = _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
  }
}

/// 32 x width as right operand of a product over the 32 rows, [column tile].
GRAFT_TILES inline void copy_paired(const RowBlock& from, const HeadTiles& head, uint16_t* to) {
  for (int64_t column = 0; column < head.columns; ++column, to += kTile) {
    __m512i pairs[16];
    paired_rows(from, column * kTileRows, pairs);
    for (int64_t i = 0; i < kTileRows; ++i) _mm512_store_si512(to + i * kTileDepth, pairs[i]);
  }
}

/// The transposed of 32 x width as left operand of a product over the 32 rows, [tile of 16 columns].
GRAFT_TILES inline void copy_transposed(const RowBlock& from, const HeadTiles& head, uint16_t* to) {
  for (int64_t column = 0; column < head.columns; ++column, to += kTile) {
    __m512i pairs[16];
    paired_rows(from, column * kTileRows, pairs);
    transpose(pairs);
    for (int64_t i = 0; i < kTileRows; ++i) _mm512_store_si512(to + i * kTileDepth, pairs[i]);
  }
}

/// Keys or values of all sequences as tiles: [key head][granule].
struct PackedRows {
  uint16_t* data;
  int64_t granules, block;  ///< granules of all sequences; values of one

  uint16_t* of(int64_t key_head, int64_t granule) const { return data + (key_head * granules + granule) * block; }
};

/// One key head's rows of a granule.
inline RowBlock rows_of_granule(const HeadRows<const uint16_t>& from, const AttentionSequence& sequence, int64_t first_key,
                                int64_t key_head, int64_t width) {
  return {from.data + (sequence.first_key + first_key) * from.stride + key_head * width, from.stride, sequence.keys - first_key, width};
}

/// Two neighbouring tiles of a transposed result (32 columns x 16 rows), times `factor`, as bf16 to `to`: row i to row order(i) if that
/// is below `count`, and of the columns the first `columns`.
template <class Order>
GRAFT_TILES_INLINE void write_transposed(const float* left, const float* right, __m512 factor, uint16_t* to, int64_t stride,
                                         int64_t columns, int64_t count, const Order& order) {
  __m512i low[16], high[16];
  for (int64_t i = 0; i < kTileRows; ++i) low[i] = _mm512_castps_si512(_mm512_mul_ps(_mm512_load_ps(left + i * 16), factor));
  transpose(low);
  for (int64_t i = 0; i < kTileRows; ++i) high[i] = _mm512_castps_si512(_mm512_mul_ps(_mm512_load_ps(right + i * 16), factor));
  transpose(high);
  const __mmask32 mask = first_of_32(columns);
  for (int64_t i = 0; i < kTileRows; ++i) {
    const int64_t row = order(i);
    if (row >= count) continue;
    const __m512i rounded = round_to_bfloat16(_mm512_castsi512_ps(low[i]), _mm512_castsi512_ps(high[i]));
    _mm512_mask_storeu_epi16(to + row * stride, mask, rounded);
  }
}

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
