#define GRAFT_TILES_ON_AVX2

#include "kernels/attention/attention_forward_tiles-inl.h"
#include "kernels/base/error.h"
#include "kernels/tiles/fma_tiles.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void attention_forward_avx2(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp) {
  forward<FmaTiles>(problem, out, log_sum_exp);
}

#else

void attention_forward_avx2(const AttentionProblem&, HeadRows<uint16_t>, float*) { GRAFT_ASSERT(fma_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
