#include "kernels/gguf_blocks/gguf_blocks_cuda.h"

#include "kernels/base/cuda_launcher.cuh"
#include "kernels/gguf_blocks/gguf_blocks_program.h"

namespace graft::kernels {

void dequantize_blocks_cuda(GgmlType type, const void* blocks, int64_t block_count, float* out, void* stream) {
  detail::launch_dequantize_blocks(detail::CudaLauncher(stream, "GGUF blocks on CUDA"), type, blocks, block_count, out);
}

void dequantize_blocks_cuda(GgmlType type, const void* blocks, int64_t block_count, uint16_t* out_bf16, void* stream) {
  detail::launch_dequantize_blocks(detail::CudaLauncher(stream, "GGUF blocks on CUDA"), type, blocks, block_count, out_bf16);
}

}  // namespace graft::kernels
