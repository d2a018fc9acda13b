#pragma once

#include <cstdint>
#include <span>

#include "kernels/rows/element.h"

// Norms over rows of n numbers. x, y, g, dx and the like are (rows, n) of `type`, weights and biases (n) fp32, what is kept for the way
// back (rows) fp32. Outputs may be the memory of an input of the same shape. A null dweight or dbias: not wanted; else they are added to.
namespace graft::kernels {

/// y = x / sqrt(mean(x²) + epsilon) · weight; inverse_rms = 1 / sqrt(...).
void rms_norm_rows(Element type, const void* x, const float* weight, float epsilon, int64_t rows, int64_t n, void* y,
                   float* inverse_rms);

/// sum = x + residual, then the norm of the sum as it is stored (rounded to `type`): y = rms_norm(sum) · weight.
void add_rms_norm_rows(Element type, const void* x, const void* residual, const float* weight, float epsilon, int64_t rows,
                       int64_t n, void* sum, void* y, float* inverse_rms);

constexpr int kMostReaders = 4;

/// dx = beside + the gradient through the norm, rounded once: also the gradient of both x and residual of add_rms_norm_rows.
struct RmsNormBackward {
  int64_t rows = 0, n = 0;
  std::span<const void* const> g;  ///< gradients of y, one from each of 1 to kMostReaders readers of y: their sum counts
  const void* beside = nullptr;    ///< gradient that other readers of x (or sum) have; null: none
  const void* x = nullptr;         ///< what was normalised
  const float* weight = nullptr;
  const float* inverse_rms = nullptr;
  void* dx = nullptr;
  float* dweight = nullptr;
};
void rms_norm_rows_backward(Element type, const RmsNormBackward& norm);

/// y = (x − mean) · inverse_std · weight + bias with inverse_std = 1 / sqrt(mean((x − mean)²) + epsilon).
void layer_norm_rows(Element type, const void* x, const float* weight, const float* bias, float epsilon, int64_t rows, int64_t n,
                     void* y, float* mean, float* inverse_std);
void layer_norm_rows_backward(Element type, const void* g, const void* x, const float* weight, const float* mean,
                              const float* inverse_std, int64_t rows, int64_t n, void* dx, float* dweight, float* dbias);

}  // namespace graft::kernels
