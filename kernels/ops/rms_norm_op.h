#pragma once

#include <ATen/core/Tensor.h>

namespace graft::ops {

/// Root-mean-square normalisation over the last axis: y = x / sqrt(mean(x²) + epsilon) · weight.
///
/// Shapes   x (…, C); weight (C) fp32; y like x.
/// Gradient exact for x; for weight only where it requires one. Statistics in fp32 whatever x is. Keeps x, not y.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

}  // namespace graft::ops
