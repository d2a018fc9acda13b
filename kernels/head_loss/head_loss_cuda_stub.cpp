// Stands in for head_loss_cuda.cu where nvcc was not found.
#include "kernels/base/cuda_state.h"
#include "kernels/head_loss/head_loss_cuda.h"

namespace graft::kernels {

constexpr const char* kWhere = "head loss on CUDA";

void begin_head_loss_cuda(const HeadRunning&, int64_t, float*, void*) { cuda_kernels_missing(kWhere); }
void absorb_logits_cuda(HeadElement, const HeadRunning&, const HeadChunk&, void*, void*) { cuda_kernels_missing(kWhere); }
void add_head_chunk_cuda(HeadElement, const HeadRunning&, const HeadChunk&, int64_t, const void*, const void*, float*, void*, void*) {
  cuda_kernels_missing(kWhere);
}
void finish_head_loss_cuda(HeadElement, const HeadRunning&, int64_t, const float*, const void*, float*, void*, void*) {
  cuda_kernels_missing(kWhere);
}

}  // namespace graft::kernels
