#include "kernels/nf4/nf4_cuda.h"

#include "kernels/base/cuda_launcher.cuh"
#include "kernels/nf4/nf4_program.h"

namespace graft::kernels {

void dequantize_nf4_cuda(const Nf4DeviceWeight& weight, int64_t first, int64_t size, float* out, void* stream) {
  detail::launch_dequantize_nf4(detail::CudaLauncher(stream, "NF4 on CUDA"), weight, first, size, out);
}

void dequantize_nf4_cuda(const Nf4DeviceWeight& weight, int64_t first, int64_t size, uint16_t* out_bf16, void* stream) {
  detail::launch_dequantize_nf4(detail::CudaLauncher(stream, "NF4 on CUDA"), weight, first, size, out_bf16);
}

}  // namespace graft::kernels
