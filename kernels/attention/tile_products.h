#pragma once

// Private to this folder: products of packed tiles.

#include <cstdint>

#include "kernels/attention/schedule.h"
#include "kernels/attention/tile_rows.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail {

/// Tiles of a product: the two row tiles of the left and the two column tiles of the right operand, and how far the next step lies.
struct Operand {
  const uint16_t *first, *second;
  int64_t step;
};

/// Tiles 0 to 3 (32 x 32, row by row) += left · right.
GRAFT_TILES_INLINE void multiply(const Operand& left, const Operand& right, int64_t steps) {
  for (int64_t s = 0; s < steps; ++s) {
    _tile_loadd(4, left.first + s * left.step, kTileBytes);
    _tile_loadd(6, right.first + s * right.step, kTileBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, right.second + s * right.step, kTileBytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, left.second + s * left.step, kTileBytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

GRAFT_TILES_INLINE void zero_tiles() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

/// Tiles 0 to 3 as four tiles in a row at `upper` (two) and `lower` (two).
GRAFT_TILES_INLINE void load_tiles(const float* upper, const float* lower) {
  _tile_loadd(0, upper, kTileBytes);
  _tile_loadd(1, upper + kTileFloats, kTileBytes);
  _tile_loadd(2, lower, kTileBytes);
  _tile_loadd(3, lower + kTileFloats, kTileBytes);
}
GRAFT_TILES_INLINE void store_tiles(float* upper, float* lower) {
  _tile_stored(0, upper, kTileBytes);
  _tile_stored(1, upper + kTileFloats, kTileBytes);
  _tile_stored(2, lower, kTileBytes);
  _tile_stored(3, lower + kTileFloats, kTileBytes);
}

/// 32 keys x 32 queries at `scores`, row by row <- keys · queriesᵀ; keys from copy_rows, queries from copy_columns.
GRAFT_TILES_INLINE void multiply_granule(const uint16_t* keys, const uint16_t* queries, const HeadTiles& head, float* scores) {
  constexpr int64_t kRowBytes = kQueryBlock * static_cast<int64_t>(sizeof(float));
  zero_tiles();
  multiply({keys, keys + head.steps * kTile, kTile}, {queries, queries + head.steps * kTile, kTile}, head.steps);
  _tile_stored(0, scores, kRowBytes);
  _tile_stored(1, scores + 16, kRowBytes);
  _tile_stored(2, scores + 16 * kQueryBlock, kRowBytes);
  _tile_stored(3, scores + 16 * kQueryBlock + 16, kRowBytes);
}

}  // namespace graft::kernels::detail

#endif
