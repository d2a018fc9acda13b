#define GRAFT_TILES_ON_AVX2

#include "kernels/base/error.h"
#include "kernels/packed_linear/factor_gradient_tiles-inl.h"
#include "kernels/tiles/fma_tiles.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void factor_gradient_avx2(const FactorGradient& p) { gradient<FmaTiles>(p); }

#else

void factor_gradient_avx2(const FactorGradient&) { GRAFT_ASSERT(fma_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
