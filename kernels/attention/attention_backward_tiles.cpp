#include "kernels/attention/attention_backward_tiles-inl.h"
#include "kernels/base/error.h"
#include "kernels/tiles/amx_tiles.h"
#include "kernels/tiles/dot_tiles.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void attention_backward_amx(const AttentionProblem& problem, const AttentionGradients& gradients) {
  backward<AmxTiles>(problem, gradients);
}
void attention_backward_avx512_bf16(const AttentionProblem& problem, const AttentionGradients& gradients) {
  backward<DotTiles>(problem, gradients);
}

#else

void attention_backward_amx(const AttentionProblem&, const AttentionGradients&) { GRAFT_ASSERT(amx_tiles_supported()); }
void attention_backward_avx512_bf16(const AttentionProblem&, const AttentionGradients&) { GRAFT_ASSERT(dot_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
