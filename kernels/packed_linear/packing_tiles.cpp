#include "kernels/base/error.h"
#include "kernels/packed_linear/packing_tiles-inl.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void pack_weight_tiles(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed) { pack_all_rows(rows, out, in, false, packed); }
void pack_weight_transposed_tiles(const WeightRows& rows, int64_t out, int64_t in, uint16_t* packed) {
  pack_all_rows(rows, out, in, true, packed);
}

#else

void pack_weight_tiles(const WeightRows&, int64_t, int64_t, uint16_t*) { GRAFT_ASSERT(dot_tiles_supported()); }
void pack_weight_transposed_tiles(const WeightRows&, int64_t, int64_t, uint16_t*) { GRAFT_ASSERT(dot_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
