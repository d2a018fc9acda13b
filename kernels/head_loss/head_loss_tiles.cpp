#include "kernels/base/error.h"
#include "kernels/head_loss/head_loss_tiles-inl.h"
#include "kernels/tiles/amx_tiles.h"
#include "kernels/tiles/dot_tiles.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void head_loss_amx(const HeadLoss& p) { walk<AmxTiles>(p); }
void head_loss_avx512_bf16(const HeadLoss& p) { walk<DotTiles>(p); }

#else

void head_loss_amx(const HeadLoss&) { GRAFT_ASSERT(amx_tiles_supported()); }
void head_loss_avx512_bf16(const HeadLoss&) { GRAFT_ASSERT(dot_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
