#pragma once

// Private to this folder: products of packed tiles.

#include <cstdint>

#include "kernels/attention/schedule.h"
#include "kernels/attention/tile_rows.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {

/// 32 keys x 32 queries at `scores`, row by row <- keys · queriesᵀ; keys from copy_rows, queries from copy_columns.
template <class Tiles>
GRAFT_TILES_INLINE void multiply_granule(Tiles& tiles, const uint16_t* keys, const uint16_t* queries, const HeadTiles& head, float* scores) {
  tiles.begin({scores, scores + 16 * kQueryBlock, 16, kQueryBlock * static_cast<int64_t>(sizeof(float))}, /*fresh=*/true);
  tiles.add({keys, keys + head.steps * kTile, kTile}, {queries, queries + head.steps * kTile, kTile}, head.steps);
  tiles.finish();
}

/// 32 x 32 sums, two tiles in a row at `upper` and two at `lower`, += left · right, or = where they hold nothing yet.
template <class Tiles>
GRAFT_TILES_INLINE void add_product(Tiles& tiles, const LeftTiles& left, const RightTiles& right, int64_t steps, bool fresh, float* upper,
                                    float* lower) {
  tiles.begin({upper, lower, kTileFloats}, fresh);
  tiles.add(left, right, steps);
  tiles.finish();
}

/// to (width x 32 queries: tiles [column pair][column tile][2]) += rowsᵀ · weights over `granules` of keys: values with probabilities, or keys
/// with gradients of scores. `transposed_rows` from copy_transposed.
template <class Tiles>
GRAFT_TILES_INLINE void add_over_keys(Tiles& tiles, const uint16_t* transposed_rows, const uint16_t* weights, int64_t granules,
                                      const HeadTiles& head, bool fresh, float* to) {
  before_tile_loads();
  for (int64_t column = 0; column < head.columns; column += 2) {
    float* upper = to + 2 * column * kTileFloats;
    const uint16_t* left = transposed_rows + column * kTile;
    add_product(tiles, {left, left + kTile, head.block()}, {weights, weights + kTile, 2 * kTile}, granules, fresh, upper,
                upper + 2 * kTileFloats);
  }
}

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
