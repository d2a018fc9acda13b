#define GRAFT_TILES_ON_AVX2

#include "kernels/base/error.h"
#include "kernels/head_loss/head_loss_tiles-inl.h"
#include "kernels/tiles/fma_tiles.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void head_loss_avx2(const HeadLoss& p) { walk<FmaTiles>(p); }

#else

void head_loss_avx2(const HeadLoss&) { GRAFT_ASSERT(fma_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
