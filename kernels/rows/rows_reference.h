#pragma once

#include "kernels/rows/attention_rows.h"
#include "kernels/rows/cached_attention_rows.h"
#include "kernels/rows/rows.h"

// The specification of the row kernels: one plain loop each, sums and exponentials in double, a single rounding into the output.
// Arguments as for the kernels of the same name. For tests and for reading; never called in a run.
namespace graft::kernels {

void rms_norm_rows_reference(Element type, const void* x, const float* weight, float epsilon, int64_t rows, int64_t n, void* y,
                             float* inverse_rms);
void rms_norm_rows_backward_reference(Element type, const RmsNormBackward& norm);
void add_rms_norm_rows_reference(Element type, const void* x, const void* residual, const float* weight, float epsilon, int64_t rows,
                                 int64_t n, void* sum, void* y, float* inverse_rms);
void layer_norm_rows_reference(Element type, const void* x, const float* weight, const float* bias, float epsilon, int64_t rows,
                               int64_t n, void* y, float* mean, float* inverse_std);
void layer_norm_rows_backward_reference(Element type, const void* g, const void* x, const float* weight, const float* mean,
                                        const float* inverse_std, int64_t rows, int64_t n, void* dx, float* dweight, float* dbias);

void swiglu_elements_reference(Element type, const void* gate, const void* up, int64_t n, void* product);
void swiglu_elements_backward_reference(Element type, const void* g, const void* gate, const void* up, int64_t n, void* dgate,
                                        void* dup);
void gelu_elements_reference(Element type, Gelu form, const void* x, int64_t n, void* y);
void gelu_elements_backward_reference(Element type, Gelu form, const void* g, const void* x, int64_t n, void* dx);

void rotate_halves_rows_reference(Element type, const void* x, const float* cosine, const float* sine, float sign, int64_t tokens,
                                  int64_t heads, int64_t width, void* y);

void cached_attention_rows_reference(const CachedAttention& problem);

void softmax_rows_reference(Element type, const AttentionBlock& block, void* scores, float* log_sum_exp);
void softmax_rows_backward_reference(Element type, const AttentionBlock& block, const float* log_sum_exp, const float* delta,
                                     void* scores, void* gradient);

void absorb_logits_reference(Element type, const VocabularyBlock& block, void* logits, const int64_t* targets,
                             const RunningSoftmax& running, float* rescale);
void rescale_and_add_reference(Element type, const void* part, const float* rescale, int64_t rows, int64_t n, float* sum);

}  // namespace graft::kernels
