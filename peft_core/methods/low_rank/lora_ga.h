#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// LoRA by gradient approximation: the pair starts along the leading singular directions of the loss's gradient for the whole weight.
///   G = ∂L/∂W ≈ U diag(σ) Vᵀ (2r directions);  A0 takes r of V's, B0 the other r of U's;  y = W x + b + s (B A − B0 A0) drop(x)
///
/// Shapes   as LoRA; 2r <= min(in, out). The base is not changed; see residual_start.h.
/// Cost     forward and backward passes over the samples, with the sum of G in fp32 for as many layers at a time as fit into 1 GiB.
/// Throws   InvalidArgument for a rank above half of a layer's size, or without samples.
/// Source   Wang, Yu, Li 2024, arXiv:2407.05000; factors as in Hugging Face PEFT, or as in the paper.
MethodSpec lora_ga_method();

}  // namespace graft::peft
