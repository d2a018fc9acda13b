#pragma once

// Private to the tile variants: 32 rows of x times 32 outputs, and the way of a finished block to y.

#include <cstdint>

#include "kernels/packed_linear/layout.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {

/// A stretch of the reduction: both operands advance by 32 values a step.
struct Segment {
  const uint16_t* rows = nullptr;    ///< 16 or 32 of them
  int64_t row_bytes = 0;             ///< from row to row
  const uint16_t* weight = nullptr;  ///< packed, `steps` blocks
  int64_t steps = 0;
  int64_t last_values = kTileDepth;  ///< of the last step; zeros follow
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

inline LeftTiles left_of(const Segment& segment) {
  return {segment.rows, segment.rows + 8 * segment.row_bytes, kTileDepth, segment.row_bytes};
}

/// += 16 (or, with kBoth, 32) rows x 32 outputs, of which the first `outputs` are wanted.
template <bool kBoth, class Tiles>
GRAFT_TILES_INLINE void multiply(Tiles& tiles, const Segment& segment, int64_t outputs, Output& pending) {
  const RightTiles weight{segment.weight, segment.weight + kTileSize, kBlockSize, outputs, (segment.last_values + 1) / 2};
  tiles.template add<Passing::kRight, kBoth>(left_of(segment), weight, segment.steps, [&]() GRAFT_TILES_LAMBDA {
    for (int row = 0; row < 2 && pending.next < pending.rows; ++row) write_row(pending);
  });
}

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
