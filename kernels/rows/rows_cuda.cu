#include "kernels/rows/rows_cuda.h"

#include "kernels/base/cuda_launcher.cuh"
#include "kernels/rows/element_programs.h"
#include "kernels/rows/norm_launch.h"

namespace graft::kernels {

using detail::CudaLauncher;

int64_t norm_gradient_scratch(int64_t rows, int64_t n, bool with_bias) { return detail::norm_scratch(rows, n, with_bias); }

void rms_norm_rows_cuda(Element type, const void* x, const float* weight, float epsilon, int64_t rows, int64_t n, void* y,
                        float* inverse_rms, void* stream) {
  detail::launch_rms_norm(CudaLauncher(stream, "RMSNorm on CUDA"), type, x, nullptr, weight, epsilon, rows, n, nullptr, y, inverse_rms);
}

void rms_norm_rows_backward_cuda(Element type, const RmsNormBackward& norm, float* scratch, void* stream) {
  detail::launch_rms_norm_backward(CudaLauncher(stream, "RMSNorm on CUDA"), type, norm, scratch);
}

void add_rms_norm_rows_cuda(Element type, const void* x, const void* residual, const float* weight, float epsilon, int64_t rows,
                            int64_t n, void* sum, void* y, float* inverse_rms, void* stream) {
  detail::launch_rms_norm(CudaLauncher(stream, "RMSNorm on CUDA"), type, x, residual, weight, epsilon, rows, n, sum, y, inverse_rms);
}

void layer_norm_rows_cuda(Element type, const void* x, const float* weight, const float* bias, float epsilon, int64_t rows, int64_t n,
                          void* y, float* mean, float* inverse_std, void* stream) {
  detail::launch_layer_norm(CudaLauncher(stream, "LayerNorm on CUDA"), type, x, weight, bias, epsilon, rows, n, y, mean, inverse_std);
}

void layer_norm_rows_backward_cuda(Element type, const void* g, const void* x, const float* weight, const float* mean,
                                   const float* inverse_std, int64_t rows, int64_t n, void* dx, float* dweight, float* dbias,
                                   float* scratch, void* stream) {
  detail::launch_layer_norm_backward(CudaLauncher(stream, "LayerNorm on CUDA"), type, g, x, weight, mean, inverse_std, rows, n, dx,
                                     dweight, dbias, scratch);
}

void swiglu_elements_cuda(Element type, const void* gate, const void* up, int64_t n, void* product, void* stream) {
  detail::launch_swiglu(CudaLauncher(stream, "SwiGLU on CUDA"), type, gate, up, n, product);
}

void swiglu_elements_backward_cuda(Element type, const void* g, const void* gate, const void* up, int64_t n, void* dgate, void* dup,
                                   void* stream) {
  detail::launch_swiglu_backward(CudaLauncher(stream, "SwiGLU on CUDA"), type, g, gate, up, n, dgate, dup);
}

void gelu_elements_cuda(Element type, Gelu form, const void* x, int64_t n, void* y, void* stream) {
  detail::launch_gelu(CudaLauncher(stream, "GELU on CUDA"), type, form, x, n, y);
}

void gelu_elements_backward_cuda(Element type, Gelu form, const void* g, const void* x, int64_t n, void* dx, void* stream) {
  detail::launch_gelu_backward(CudaLauncher(stream, "GELU on CUDA"), type, form, g, x, n, dx);
}

void rotate_halves_rows_cuda(Element type, const void* x, const float* cosine, const float* sine, float sign, int64_t tokens,
                             int64_t heads, int64_t width, void* y, void* stream) {
  detail::launch_rotate_halves(CudaLauncher(stream, "rotary on CUDA"), type, x, cosine, sine, sign, tokens, heads, width, y);
}

}  // namespace graft::kernels
