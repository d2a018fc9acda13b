#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace graft::ops {

/// Root-mean-square normalisation over the last axis: y = x / sqrt(mean(x²) + epsilon) · weight.
///
/// Shapes   x (…, C); weight (C) fp32; y like x.
/// Gradient exact for x; for weight only where it requires one. Statistics in fp32 whatever x is. Keeps x, not y.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

struct AddedAndNormed {
  at::Tensor sum;                  ///< x + residual, rounded to their dtype
  std::vector<at::Tensor> normed;  ///< the norm of sum, the same memory for each reader
};

/// A residual addition and the norm that follows it, in one pass; `residual` may be undefined (then sum is x).
///
/// y is handed out once for each of its `readers` (1 to 4), such as the q, k and v projections. Their gradients then meet in the backward
/// pass of the norm, which adds them, and the gradient of sum from elsewhere, in fp32 while it reads them; autograd would add them two at
/// a time, each time through memory.
/// Shapes   as rms_norm; residual like x.
AddedAndNormed add_rms_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight, double epsilon, int readers);

}  // namespace graft::ops
