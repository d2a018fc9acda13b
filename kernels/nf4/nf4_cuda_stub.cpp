// Stands in for nf4_cuda.cu where nvcc was not found.
#include "kernels/base/cuda_state.h"
#include "kernels/nf4/nf4_cuda.h"

namespace graft::kernels {

void dequantize_nf4_cuda(const Nf4DeviceWeight&, int64_t, int64_t, float*, void*) { cuda_kernels_missing("NF4 on CUDA"); }
void dequantize_nf4_cuda(const Nf4DeviceWeight&, int64_t, int64_t, uint16_t*, void*) { cuda_kernels_missing("NF4 on CUDA"); }

}  // namespace graft::kernels
