// Stands in for gguf_blocks_cuda.cu where nvcc was not found.
#include "kernels/base/cuda_state.h"
#include "kernels/gguf_blocks/gguf_blocks_cuda.h"

namespace graft::kernels {

void dequantize_blocks_cuda(GgmlType, const void*, int64_t, float*, void*) { cuda_kernels_missing("GGUF blocks on CUDA"); }
void dequantize_blocks_cuda(GgmlType, const void*, int64_t, uint16_t*, void*) { cuda_kernels_missing("GGUF blocks on CUDA"); }

}  // namespace graft::kernels
