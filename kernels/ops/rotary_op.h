#pragma once

#include <ATen/core/Tensor.h>

namespace graft::ops {

/// Rotary position embedding in the "rotate halves" order of Hugging Face checkpoints.
/// Shapes   x (N, H, D), D even; cosine, sine (N, D / 2) fp32; result like x. Gradient exact; keeps no activation.
at::Tensor rotary(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine);

}  // namespace graft::ops
