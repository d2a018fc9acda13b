#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Orthonormal LoRA: the pair starts as the first columns of Q and rows of R in W = Q R.
///   B0 = Q[:, :r],  A0 = R[:r, :],   y = W x + b + s (B A − B0 A0) drop(x)
///
/// Shapes   as LoRA. The base is not changed; see residual_start.h.
/// Cost     Q of the base's first r columns and one product at the start; a step as LoRA of twice the rank.
/// Source   Büyükakyüz 2024, arXiv:2406.01775; file layout of Hugging Face PEFT.
MethodSpec olora_method();

}  // namespace graft::peft
