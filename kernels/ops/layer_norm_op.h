#pragma once

#include <ATen/core/Tensor.h>

namespace graft::ops {

/// y = (x − mean) / sqrt(variance + epsilon) · weight + bias over the last axis.
///
/// Shapes   x (…, C); weight, bias (C) fp32; y like x.
/// Gradient exact; for weight and bias only where they require one. Statistics in fp32 whatever x is.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon);

}  // namespace graft::ops
