#pragma once

// Private to the tile variant: 32 rows of x times 32 outputs, and the way of a finished block to y.

#include <cstdint>

#include "kernels/packed_linear/layout.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail {

/// A stretch of the reduction: both operands advance by 32 values a step.
struct Segment {
  const uint16_t* rows = nullptr;    ///< 16 or 32 of them
  int64_t row_bytes = 0;             ///< from row to row
  const uint16_t* weight = nullptr;  ///< packed, `steps` blocks
  int64_t steps = 0;
};

/// A block of sums that still has to be added to those of earlier chunks, or rounded into y. A few rows are written between the tile
/// products of the next block, so that the vector units and the matrix unit work at the same time.
struct Output {
  const float* sums = nullptr;  ///< (32, 32)
  float* earlier = nullptr;     ///< (32, 32) of the chunks before, or null
  bool last = false;            ///< no chunk follows: to y, otherwise to `earlier`
  const float* bias = nullptr;
  uint16_t* y = nullptr;
  int64_t y_stride = 0;
  int64_t rows = 0, next = 0;
  uint32_t columns = 0;  ///< mask
  bool accumulate = false;
  bool stream = false;  ///< past the caches; whole lines only
};

GRAFT_TILES_INLINE void write_row(Output& output) {
  const int64_t row = output.next++;
  const float* sums = output.sums + row * kBlock;
  __m512 a = _mm512_load_ps(sums), b = _mm512_load_ps(sums + 16);
  if (output.earlier != nullptr) {
    float* earlier = output.earlier + row * kBlock;
    a = _mm512_add_ps(a, _mm512_load_ps(earlier));
    b = _mm512_add_ps(b, _mm512_load_ps(earlier + 16));
    if (!output.last) {
      _mm512_store_ps(earlier, a);
      _mm512_store_ps(earlier + 16, b);
      return;
    }
  }
  uint16_t* y = output.y + row * output.y_stride;
  const auto low = static_cast<__mmask16>(output.columns), high = static_cast<__mmask16>(output.columns >> 16);
  if (output.bias != nullptr) {
    a = _mm512_add_ps(a, _mm512_maskz_loadu_ps(low, output.bias));
    b = _mm512_add_ps(b, _mm512_maskz_loadu_ps(high, output.bias + 16));
  }
  if (output.accumulate) {
    a = _mm512_add_ps(a, widen_bfloat16(_mm256_maskz_loadu_epi16(low, y)));
    b = _mm512_add_ps(b, widen_bfloat16(_mm256_maskz_loadu_epi16(high, y + 16)));
  }
  if (output.stream) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(y), round_to_bfloat16(a, b));
  } else {
    _mm512_mask_storeu_epi16(y, output.columns, round_to_bfloat16(a, b));
  }
}

GRAFT_TILES_INLINE void write_rest(Output& output) {
  while (output.next < output.rows) write_row(output);
}

/// Tiles 0 to 3 += 16 (or, with kBoth, 32) rows x 32 outputs. The weight passes through once and must not push the rows out of
/// the first cache: hence its streaming loads.
template <bool kBoth>
GRAFT_TILES_INLINE void multiply(const Segment& segment, Output& pending) {
  const uint16_t *upper = segment.rows, *lower = segment.rows + 8 * segment.row_bytes, *weight = segment.weight;
  for (int64_t step = 0; step < segment.steps; ++step) {
    _tile_loadd(4, upper, segment.row_bytes);
    _tile_stream_loadd(6, weight, kTileBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_stream_loadd(7, weight + kTileSize, kTileBytes);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kBoth) {
      _tile_loadd(5, lower, segment.row_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    for (int row = 0; row < 2 && pending.next < pending.rows; ++row) write_row(pending);
    upper += kTileDepth;
    lower += kTileDepth;
    weight += kBlockSize;
  }
}

GRAFT_TILES_INLINE void clear_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

template <bool kBoth>
GRAFT_TILES_INLINE void store_sums(float* sums) {
  constexpr int64_t kRowBytes = kBlock * static_cast<int64_t>(sizeof(float));
  _tile_stored(0, sums, kRowBytes);
  _tile_stored(1, sums + 16, kRowBytes);
  if constexpr (kBoth) {
    _tile_stored(2, sums + 16 * kBlock, kRowBytes);
    _tile_stored(3, sums + 16 * kBlock + 16, kRowBytes);
  }
}

}  // namespace graft::kernels::detail

#endif
