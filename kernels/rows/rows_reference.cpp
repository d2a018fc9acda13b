#include "kernels/rows/rows_reference.h"

#include <algorithm>
#include <cmath>

#include "kernels/rows/elements.h"

namespace graft::kernels {
namespace {

/// Reads and writes one buffer of either element type.
struct Values {
  Element type;
  void* data;

  double operator[](int64_t i) const {
    if (type == Element::kFloat32) return static_cast<const float*>(data)[i];
    return detail::load(static_cast<const detail::Bf16*>(data)[i]);
  }
  void set(int64_t i, double value) const {
    if (type == Element::kFloat32) {
      static_cast<float*>(data)[i] = static_cast<float>(value);
    } else {
      detail::store(static_cast<detail::Bf16*>(data)[i], static_cast<float>(value));
    }
  }
};

Values read(Element type, const void* data) { return {type, const_cast<void*>(data)}; }

double logistic(double x) { return 1.0 / (1.0 + std::exp(-x)); }

bool sees(const AttentionBlock& block, int64_t query, int64_t key) {
  const int64_t position = block.first_position + query;
  if (!block.causal) return true;
  return key <= position && (block.window == 0 || key > position - block.window);
}

}  // namespace

void rms_norm_rows_reference(Element type, const void* x, const float* weight, float epsilon, int64_t rows, int64_t n, void* y,
                             float* inverse_rms) {
  const Values from = read(type, x), to{type, y};
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += from[r * n + i] * from[r * n + i];
    const double inverse = 1.0 / std::sqrt(sum / static_cast<double>(n) + epsilon);
    inverse_rms[r] = static_cast<float>(inverse);
    for (int64_t i = 0; i < n; ++i) to.set(r * n + i, from[r * n + i] * inverse * weight[i]);
  }
}

void rms_norm_rows_backward_reference(Element type, const void* g, const void* x, const float* weight, const float* inverse_rms,
                                      int64_t rows, int64_t n, void* dx, float* dweight) {
  const Values gradient = read(type, g), from = read(type, x), to{type, dx};
  for (int64_t r = 0; r < rows; ++r) {
    const double inverse = inverse_rms[r];
    double mean = 0;  // of g · w · x̂
    for (int64_t i = 0; i < n; ++i) mean += gradient[r * n + i] * weight[i] * from[r * n + i] * inverse / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i)
      to.set(r * n + i, inverse * (gradient[r * n + i] * weight[i] - from[r * n + i] * inverse * mean));
  }
  for (int64_t i = 0; i < n && dweight != nullptr; ++i) {
    double sum = dweight[i];
    for (int64_t r = 0; r < rows; ++r) sum += gradient[r * n + i] * from[r * n + i] * inverse_rms[r];
    dweight[i] = static_cast<float>(sum);
  }
}

void swiglu_elements_reference(Element type, const void* gate, const void* up, int64_t n, void* product) {
  const Values a = read(type, gate), b = read(type, up), to{type, product};
  for (int64_t i = 0; i < n; ++i) to.set(i, a[i] * logistic(a[i]) * b[i]);
}

void swiglu_elements_backward_reference(Element type, const void* g, const void* gate, const void* up, int64_t n, void* dgate,
                                        void* dup) {
  const Values gradient = read(type, g), a = read(type, gate), b = read(type, up), to_gate{type, dgate}, to_up{type, dup};
  for (int64_t i = 0; i < n; ++i) {
    const double s = logistic(a[i]), upstream = gradient[i], gate_value = a[i], up_value = b[i];
    to_gate.set(i, upstream * up_value * (s + gate_value * s * (1.0 - s)));
    to_up.set(i, upstream * gate_value * s);
  }
}

void rotate_halves_rows_reference(Element type, const void* x, const float* cosine, const float* sine, float sign, int64_t tokens,
                                  int64_t heads, int64_t width, void* y) {
  const Values from = read(type, x), to{type, y};
  const int64_t half = width / 2;
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < half; ++i) {
        const int64_t first = (t * heads + h) * width + i, second = first + half;
        const double a = from[first], b = from[second], c = cosine[t * half + i], s = static_cast<double>(sign) * sine[t * half + i];
        to.set(first, a * c - b * s);
        to.set(second, b * c + a * s);
      }
}

void softmax_rows_reference(Element type, const AttentionBlock& block, void* scores, float* log_sum_exp) {
  const Values row{type, scores};
  for (int64_t r = 0; r < block.groups * block.queries; ++r) {
    const int64_t at = r * block.keys, query = r % block.queries;
    double top = -INFINITY, sum = 0;
    for (int64_t k = 0; k < block.keys; ++k)
      if (sees(block, query, k)) top = std::max(top, block.scale * row[at + k]);
    for (int64_t k = 0; k < block.keys; ++k)
      if (sees(block, query, k)) sum += std::exp(block.scale * row[at + k] - top);
    for (int64_t k = 0; k < block.keys; ++k)
      row.set(at + k, sees(block, query, k) ? std::exp(block.scale * row[at + k] - top) / sum : 0.0);
    log_sum_exp[r] = static_cast<float>(top + std::log(sum));
  }
}

void softmax_rows_backward_reference(Element type, const AttentionBlock& block, const float* log_sum_exp, const float* delta,
                                     void* scores, void* gradient) {
  const Values row{type, scores}, g{type, gradient};
  for (int64_t r = 0; r < block.groups * block.queries; ++r)
    for (int64_t k = 0; k < block.keys; ++k) {
      const int64_t at = r * block.keys + k;
      const bool visible = sees(block, r % block.queries, k);
      const double p = visible ? std::exp(block.scale * row[at] - static_cast<double>(log_sum_exp[r])) : 0.0;
      g.set(at, visible ? block.scale * p * (g[at] - delta[r]) : 0.0);
      row.set(at, p);
    }
}

}  // namespace graft::kernels
