#include "kernels/attention/attention_forward_tiles-inl.h"
#include "kernels/base/error.h"
#include "kernels/tiles/amx_tiles.h"
#include "kernels/tiles/dot_tiles.h"

namespace graft::kernels::detail {

#if GRAFT_HAS_TILES

void attention_forward_amx(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp) {
  forward<AmxTiles>(problem, out, log_sum_exp);
}
void attention_forward_avx512_bf16(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp) {
  forward<DotTiles>(problem, out, log_sum_exp);
}

#else

void attention_forward_amx(const AttentionProblem&, HeadRows<uint16_t>, float*) { GRAFT_ASSERT(amx_tiles_supported()); }
void attention_forward_avx512_bf16(const AttentionProblem&, HeadRows<uint16_t>, float*) { GRAFT_ASSERT(dot_tiles_supported()); }

#endif

}  // namespace graft::kernels::detail
