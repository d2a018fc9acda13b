#include "pipelines/adamw_elements.h"

#include <cmath>

namespace graft::pipelines {

void adamw_elements(const AdamWScalars& s, int64_t count, float* __restrict p, float* __restrict g, float* __restrict m,
                    float* __restrict v) {
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = g[i] * s.gradient_scale;
    const float first = m[i] + s.one_minus_beta1 * (gradient - m[i]);
    const float second = v[i] * s.beta2 + s.one_minus_beta2 * gradient * gradient;
    const float denominator = std::sqrt(second) / s.root_correction2 + s.epsilon;
    p[i] = p[i] * s.decay + s.minus_step_size * first / denominator;
    m[i] = first;
    v[i] = second;
    g[i] = 0.0f;
  }
}

// Eight running sums: the compiler may keep them in vector registers without changing the result.
double sum_of_squares(const float* values, int64_t count) {
  constexpr int64_t kLanes = 8;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  }
  double sum = 0;
  for (; i < count; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace graft::pipelines
