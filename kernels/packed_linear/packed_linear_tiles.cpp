#include "kernels/base/error.h"
#include "kernels/packed_linear/packed_linear_tiles-inl.h"
#include "kernels/tiles/amx_tiles.h"
#include "kernels/tiles/dot_tiles.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void packed_linear_amx(const PackedLinear& p) { linear<AmxTiles>(p); }
void narrow_product_amx(const NarrowProduct& p) { narrow<AmxTiles>(p); }
void packed_linear_avx512_bf16(const PackedLinear& p) { linear<DotTiles>(p); }
void narrow_product_avx512_bf16(const NarrowProduct& p) { narrow<DotTiles>(p); }

#else

void packed_linear_amx(const PackedLinear&) { GRAFT_ASSERT(amx_tiles_supported()); }
void narrow_product_amx(const NarrowProduct&) { GRAFT_ASSERT(amx_tiles_supported()); }
void packed_linear_avx512_bf16(const PackedLinear&) { GRAFT_ASSERT(dot_tiles_supported()); }
void narrow_product_avx512_bf16(const NarrowProduct&) { GRAFT_ASSERT(dot_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
