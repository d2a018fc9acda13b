#include "kernels/head_loss/head_loss_cuda.h"

#include "kernels/base/cuda_launcher.cuh"
#include "kernels/head_loss/head_loss_launch.h"

namespace graft::kernels {
namespace {

detail::CudaLauncher launcher(void* stream) { return {stream, "head loss on CUDA"}; }

}  // namespace

void begin_head_loss_cuda(const HeadRunning& running, int64_t width, float* sums, void* stream) {
  detail::launch_begin_head_loss(launcher(stream), running, width, sums);
}

void absorb_logits_cuda(HeadElement type, const HeadRunning& running, const HeadChunk& chunk, void* logits, void* stream) {
  detail::launch_absorb_logits(launcher(stream), type, running, chunk, logits);
}

void add_head_chunk_cuda(HeadElement type, const HeadRunning& running, const HeadChunk& chunk, int64_t width, const void* part,
                         const void* words, float* sums, void* target_words, void* stream) {
  detail::launch_add_head_chunk(launcher(stream), type, running, chunk, width, part, words, sums, target_words);
}

void finish_head_loss_cuda(HeadElement type, const HeadRunning& running, int64_t width, const float* sums, const void* target_words,
                           float* nll, void* gradient, void* stream) {
  detail::launch_finish_head_loss(launcher(stream), type, running, width, sums, target_words, nll, gradient);
}

}  // namespace graft::kernels
