#pragma once

// Private to the tile variant: factors in packed order.

#include <cstdint>

#include "kernels/packed_linear/layout.h"
#include "kernels/packed_linear/packed_linear.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {

/// A part of a weight: outputs' and inputs' blocks of 32. In packed order: [outputs][steps][one block].
struct Panel {
  Range outputs, steps;
};

/// A panel of a (rows, columns) factor, rounded and in packed order.
GRAFT_TILES void pack_factor(const Factor& factor, int64_t rows, int64_t columns, const Panel& panel, uint16_t* packed);

/// Turns a panel of a product with `out` outputs whose weight is packed for the other side.
GRAFT_TILES void turn_panel(const uint16_t* weight, int64_t out, const Panel& panel, uint16_t* packed);

/// Values of row-major scratch that expand_panel() wants.
int64_t expansion_size(const StoredWeight& stored);

/// Expands a panel of the weight of a product with `in` and `out`.
GRAFT_TILES void expand_panel(const StoredWeight& stored, int64_t in, int64_t out, const Panel& panel, uint16_t* scratch, uint16_t* packed);

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
