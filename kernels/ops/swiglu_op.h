#pragma once

#include <ATen/core/Tensor.h>

namespace graft::ops {

/// silu(gate) ⊙ up, the gated unit of Llama-style feed-forward blocks.
/// Shapes   gate, up (…, F) of one dtype; result alike. Gradient exact. Keeps gate and up, recomputes the sigmoid.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace graft::ops
