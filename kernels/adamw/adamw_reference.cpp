#include <cmath>

#include "kernels/adamw/adamw.h"

namespace graft::kernels {

void adamw_update_reference(const AdamWScalars& scalars, float gradient_scale, int64_t count, float* p, float* g, float* m, float* v) {
  const double decay = scalars.decay, beta2 = scalars.beta2, minus_step_size = scalars.minus_step_size;
  for (int64_t i = 0; i < count; ++i) {
    const double gradient = static_cast<double>(g[i]) * static_cast<double>(gradient_scale);
    const double first = m[i] + scalars.one_minus_beta1 * (gradient - m[i]);
    const double second = v[i] * beta2 + scalars.one_minus_beta2 * gradient * gradient;
    const double denominator = std::sqrt(second) / scalars.root_correction2 + scalars.epsilon;
    p[i] = static_cast<float>(p[i] * decay + minus_step_size * first / denominator);
    m[i] = static_cast<float>(first);
    v[i] = static_cast<float>(second);
    g[i] = 0;
  }
}

double sum_of_squares_reference(const float* gradients, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(gradients[i]) * static_cast<double>(gradients[i]);
  return sum;
}

}  // namespace graft::kernels
