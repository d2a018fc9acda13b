#pragma once

#include "peft_core/methods/low_rank/lora_family.h"

namespace graft::peft {

/// Weight-decomposed low-rank adaptation: direction by LoRA, the length of every output's weights by itself.
///   y = c ⊙ (W x + s · B A drop(x)) + b,   c = m / ‖W + s B A‖ (row by row)
///
/// Shapes   as LoRA; m (out) fp32, at the start the lengths of W's rows, so that c = 1.
/// Gradient exact for m; for A, B and x with ‖·‖ taken as a constant, as the paper does (its section 4.3).
/// Cost     the lengths come from ‖w‖², known once, and A Wᵀ, a product of r rows; W itself is never made dense.
/// Source   Liu et al. 2024, arXiv:2402.09353; file layout of Hugging Face PEFT.
MethodSpec dora_method();

}  // namespace graft::peft
