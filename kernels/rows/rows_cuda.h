#pragma once

#include <cstdint>

#include "kernels/rows/activation_rows.h"
#include "kernels/rows/element.h"
#include "kernels/rows/norm_rows.h"

// The row kernels on a CUDA stream. Arguments as for the kernels of the same name without _cuda (norm_rows.h, activation_rows.h,
// rotary_rows.h), with these differences: all pointers are device memory (those that RmsNormBackward::g lists too; the list itself lies on
// the host); nothing is waited for; `stream` is a cudaStream_t, null for the default one; the gradients of weights take `scratch`,
// norm_gradient_scratch() floats of device memory (null where no such gradient is wanted). The same bits on every run: sums have one order,
// and there are no atomics. Fastest where n is a multiple of 8 and pointers are 16-byte aligned. Throws Unavailable without CUDA kernels or
// if a launch fails.
namespace graft::kernels {

void rms_norm_rows_cuda(Element type, const void* x, const float* weight, float epsilon, int64_t rows, int64_t n, void* y,
                        float* inverse_rms, void* stream);
void rms_norm_rows_backward_cuda(Element type, const RmsNormBackward& norm, float* scratch, void* stream);
void add_rms_norm_rows_cuda(Element type, const void* x, const void* residual, const float* weight, float epsilon, int64_t rows,
                            int64_t n, void* sum, void* y, float* inverse_rms, void* stream);
void layer_norm_rows_cuda(Element type, const void* x, const float* weight, const float* bias, float epsilon, int64_t rows, int64_t n,
                          void* y, float* mean, float* inverse_std, void* stream);
void layer_norm_rows_backward_cuda(Element type, const void* g, const void* x, const float* weight, const float* mean,
                                   const float* inverse_std, int64_t rows, int64_t n, void* dx, float* dweight, float* dbias,
                                   float* scratch, void* stream);
/// Floats of scratch for a norm's weight gradient, and for a bias's as well.
int64_t norm_gradient_scratch(int64_t rows, int64_t n, bool with_bias);

void swiglu_elements_cuda(Element type, const void* gate, const void* up, int64_t n, void* product, void* stream);
void swiglu_elements_backward_cuda(Element type, const void* g, const void* gate, const void* up, int64_t n, void* dgate, void* dup,
                                   void* stream);
void gelu_elements_cuda(Element type, Gelu form, const void* x, int64_t n, void* y, void* stream);
void gelu_elements_backward_cuda(Element type, Gelu form, const void* g, const void* x, int64_t n, void* dx, void* stream);
void rotate_halves_rows_cuda(Element type, const void* x, const float* cosine, const float* sine, float sign, int64_t tokens,
                             int64_t heads, int64_t width, void* y, void* stream);

}  // namespace graft::kernels
