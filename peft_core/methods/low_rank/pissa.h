#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Principal singular values and vectors adaptation: LoRA whose pair starts as the base's largest singular directions.
///   W ≈ U diag(σ) Vᵀ,   s B0 A0 = U diag(σ) Vᵀ with B0 = U √(σ/s), A0 = √(σ/s) Vᵀ,   y = W x + b + s (B A − B0 A0) drop(x)
///
/// Shapes   as LoRA. The base is not changed; see residual_start.h.
/// Cost     one decomposition of every layer at the start, exact or by subspace iteration (`iterations`); a step as LoRA of twice the rank.
/// Source   Meng, Wang, Zhang 2024, arXiv:2404.02948; scaling and file layout of Hugging Face PEFT.
MethodSpec pissa_method();

}  // namespace graft::peft
