#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// LoRA with a frozen A: only B is trained, and the layer's input need not be kept for the backward pass.
///   y = W x + b + s · B A drop(x),   the optimizer sees ∂B (A Aᵀ + δ I)⁻¹ / s² with project_gradient, else ∂B
///
/// Shapes   as LoRA. δ = 1e-8.
/// Gradient exact without project_gradient. The projected one is that B-gradient whose update of B A comes nearest to the gradient of a full W.
/// Source   Zhang et al. 2023, arXiv:2308.03303; the projection as in Hugging Face PEFT's LoRA-FA optimizer.
MethodSpec lora_fa_method();

}  // namespace graft::peft
