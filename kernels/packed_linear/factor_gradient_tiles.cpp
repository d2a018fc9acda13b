#include "kernels/base/error.h"
#include "kernels/packed_linear/factor_gradient_tiles-inl.h"
#include "kernels/tiles/amx_tiles.h"
#include "kernels/tiles/dot_tiles.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void factor_gradient_amx(const FactorGradient& p) { gradient<AmxTiles>(p); }
void factor_gradient_avx512_bf16(const FactorGradient& p) { gradient<DotTiles>(p); }

#else

void factor_gradient_amx(const FactorGradient&) { GRAFT_ASSERT(amx_tiles_supported()); }
void factor_gradient_avx512_bf16(const FactorGradient&) { GRAFT_ASSERT(dot_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
