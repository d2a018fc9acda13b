#pragma once

#include <cstdint>

// The loops of AdamW over plain memory. Their own source, as the compiler vectorises a square root only where it need
// not set errno.

namespace graft::pipelines {

/// Scalars of one update, computed in double and rounded once, as torch does before its kernels.
struct AdamWScalars {
  float decay;  ///< 1 - learning rate * weight decay
  float one_minus_beta1, beta2, one_minus_beta2;
  float minus_step_size;   ///< -learning rate / (1 - beta1^t)
  float root_correction2;  ///< sqrt(1 - beta2^t)
  float epsilon;
  float gradient_scale;
};

/// One update of `count` values: parameters p, gradients g (left at 0), moments m and v.
void adamw_elements(const AdamWScalars& scalars, int64_t count, float* p, float* g, float* m, float* v);

/// In double and in a fixed order.
double sum_of_squares(const float* values, int64_t count);

}  // namespace graft::pipelines
