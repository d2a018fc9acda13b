// Stands in for rows_cuda.cu where nvcc was not found.
#include "kernels/base/cuda_state.h"
#include "kernels/rows/norm_launch.h"
#include "kernels/rows/rows_cuda.h"

namespace graft::kernels {

int64_t norm_gradient_scratch(int64_t rows, int64_t n, bool with_bias) { return detail::norm_scratch(rows, n, with_bias); }

void rms_norm_rows_cuda(Element, const void*, const float*, float, int64_t, int64_t, void*, float*, void*) {
  cuda_kernels_missing("RMSNorm on CUDA");
}
void rms_norm_rows_backward_cuda(Element, const RmsNormBackward&, float*, void*) { cuda_kernels_missing("RMSNorm on CUDA"); }
void add_rms_norm_rows_cuda(Element, const void*, const void*, const float*, float, int64_t, int64_t, void*, void*,
                            float*, void*) {
  cuda_kernels_missing("RMSNorm on CUDA");
}
void layer_norm_rows_cuda(Element, const void*, const float*, const float*, float, int64_t, int64_t, void*, float*,
                          float*, void*) {
  cuda_kernels_missing("LayerNorm on CUDA");
}
void layer_norm_rows_backward_cuda(Element, const void*, const void*, const float*, const float*, const float*,
                                   int64_t, int64_t, void*, float*, float*, float*, void*) {
  cuda_kernels_missing("LayerNorm on CUDA");
}
void swiglu_elements_cuda(Element, const void*, const void*, int64_t, void*, void*) {
  cuda_kernels_missing("SwiGLU on CUDA");
}
void swiglu_elements_backward_cuda(Element, const void*, const void*, const void*, int64_t, void*, void*, void*) {
  cuda_kernels_missing("SwiGLU on CUDA");
}
void gelu_elements_cuda(Element, Gelu, const void*, int64_t, void*, void*) {
  cuda_kernels_missing("GELU on CUDA");
}
void gelu_elements_backward_cuda(Element, Gelu, const void*, const void*, int64_t, void*, void*) {
  cuda_kernels_missing("GELU on CUDA");
}
void rotate_halves_rows_cuda(Element, const void*, const float*, const float*, float, int64_t, int64_t, int64_t,
                             void*, void*) {
  cuda_kernels_missing("rotary on CUDA");
}

}  // namespace graft::kernels
