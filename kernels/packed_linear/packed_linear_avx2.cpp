#define GRAFT_TILES_ON_AVX2

#include "kernels/base/error.h"
#include "kernels/packed_linear/packed_linear_tiles-inl.h"
#include "kernels/tiles/fma_tiles.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void packed_linear_avx2(const PackedLinear& p) { linear<FmaTiles>(p); }
void narrow_product_avx2(const NarrowProduct& p) { narrow<FmaTiles>(p); }

#else

void packed_linear_avx2(const PackedLinear&) { GRAFT_ASSERT(fma_tiles_supported()); }
void narrow_product_avx2(const NarrowProduct&) { GRAFT_ASSERT(fma_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
