#include "kernels/rows/rows_reference.h"

#include <cmath>

#include "kernels/rows/row_values.h"

namespace graft::kernels {
namespace {

using detail::read;
using detail::Values;

constexpr double kPi = 3.14159265358979323846;

double logistic(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double tanh_argument(double x) { return std::sqrt(2.0 / kPi) * (x + 0.044715 * x * x * x); }

double gelu(Gelu form, double x) {
  if (form == Gelu::kExact) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  if (form == Gelu::kTanh) return x * logistic(2.0 * tanh_argument(x));
  return x * logistic(1.702 * x);
}

double gelu_slope(Gelu form, double x) {
  if (form == Gelu::kExact) return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * kPi);
  const bool cubic = form == Gelu::kTanh;
  const double s = logistic(cubic ? 2.0 * tanh_argument(x) : 1.702 * x);
  const double inner = cubic ? 2.0 * std::sqrt(2.0 / kPi) * (1.0 + 3.0 * 0.044715 * x * x) : 1.702;
  return s + x * s * (1.0 - s) * inner;
}

}  // namespace

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

void gelu_elements_reference(Element type, Gelu form, const void* x, int64_t n, void* y) {
  const Values from = read(type, x), to{type, y};
  for (int64_t i = 0; i < n; ++i) to.set(i, gelu(form, from[i]));
}

void gelu_elements_backward_reference(Element type, Gelu form, const void* g, const void* x, int64_t n, void* dx) {
  const Values gradient = read(type, g), from = read(type, x), to{type, dx};
  for (int64_t i = 0; i < n; ++i) to.set(i, gradient[i] * gelu_slope(form, from[i]));
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

}  // namespace graft::kernels
