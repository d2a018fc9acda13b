#include "kernels/rows/rows_reference.h"

#include <cmath>

#include "kernels/rows/row_values.h"

namespace graft::kernels {

namespace {

using detail::read;
using detail::Values;

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

void rms_norm_rows_backward_reference(Element type, const RmsNormBackward& norm) {
  const int64_t rows = norm.rows, n = norm.n;
  const Values joined = read(type, norm.beside), from = read(type, norm.x), to{type, norm.dx};
  const auto gradient = [&](int64_t i) {
    double sum = 0;
    for (const void* g : norm.g) sum += read(type, g)[i];
    return sum;
  };
  for (int64_t i = 0; i < n && norm.dweight != nullptr; ++i) {
    double sum = norm.dweight[i];
    for (int64_t r = 0; r < rows; ++r) sum += gradient(r * n + i) * from[r * n + i] * norm.inverse_rms[r];
    norm.dweight[i] = static_cast<float>(sum);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const double inverse = norm.inverse_rms[r];
    double mean = 0;  // of g · w · x̂
    for (int64_t i = 0; i < n; ++i) mean += gradient(r * n + i) * norm.weight[i] * from[r * n + i] * inverse / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) {
      const double through_norm = inverse * (gradient(r * n + i) * norm.weight[i] - from[r * n + i] * inverse * mean);
      to.set(r * n + i, (norm.beside == nullptr ? 0.0 : joined[r * n + i]) + through_norm);
    }
  }
}

void add_rms_norm_rows_reference(Element type, const void* x, const void* residual, const float* weight, float epsilon, int64_t rows,
                                 int64_t n, void* sum, void* y, float* inverse_rms) {
  const Values a = read(type, x), b = read(type, residual), total{type, sum};
  for (int64_t i = 0; i < rows * n; ++i) total.set(i, a[i] + b[i]);
  rms_norm_rows_reference(type, sum, weight, epsilon, rows, n, y, inverse_rms);
}

void layer_norm_rows_reference(Element type, const void* x, const float* weight, const float* bias, float epsilon, int64_t rows,
                               int64_t n, void* y, float* mean, float* inverse_std) {
  const Values from = read(type, x), to{type, y};
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) sum += from[r * n + i];
    const double centre = sum / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) squares += (from[r * n + i] - centre) * (from[r * n + i] - centre);
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(n) + epsilon);
    mean[r] = static_cast<float>(centre), inverse_std[r] = static_cast<float>(inverse);
    for (int64_t i = 0; i < n; ++i) to.set(r * n + i, (from[r * n + i] - centre) * inverse * weight[i] + bias[i]);
  }
}

void layer_norm_rows_backward_reference(Element type, const void* g, const void* x, const float* weight, const float* mean,
                                        const float* inverse_std, int64_t rows, int64_t n, void* dx, float* dweight, float* dbias) {
  const Values gradient = read(type, g), from = read(type, x), to{type, dx};
  const auto normal = [&](int64_t r, int64_t i) { return (from[r * n + i] - mean[r]) * inverse_std[r]; };
  for (int64_t r = 0; r < rows; ++r) {
    double mean_gw = 0, mean_gwx = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double gw = gradient[r * n + i] * weight[i] / static_cast<double>(n);
      mean_gw += gw, mean_gwx += gw * normal(r, i);
    }
    for (int64_t i = 0; i < n; ++i)
      to.set(r * n + i, inverse_std[r] * (gradient[r * n + i] * weight[i] - mean_gw - normal(r, i) * mean_gwx));
  }
  for (int64_t i = 0; i < n && dweight != nullptr; ++i) {
    double sum = dweight[i];
    for (int64_t r = 0; r < rows; ++r) sum += gradient[r * n + i] * normal(r, i);
    dweight[i] = static_cast<float>(sum);
  }
  for (int64_t i = 0; i < n && dbias != nullptr; ++i) {
    double sum = dbias[i];
    for (int64_t r = 0; r < rows; ++r) sum += gradient[r * n + i];
    dbias[i] = static_cast<float>(sum);
  }
}

}  // namespace graft::kernels
