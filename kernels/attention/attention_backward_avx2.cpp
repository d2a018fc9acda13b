#define GRAFT_TILES_ON_AVX2

#include "kernels/attention/attention_backward_tiles-inl.h"
#include "kernels/base/error.h"
#include "kernels/tiles/fma_tiles.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void attention_backward_avx2(const AttentionProblem& problem, const AttentionGradients& gradients) {
  backward<FmaTiles>(problem, gradients);
}

#else

void attention_backward_avx2(const AttentionProblem&, const AttentionGradients&) { GRAFT_ASSERT(fma_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
