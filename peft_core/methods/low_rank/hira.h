#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// HiRA: each element of the weight is multiplied with one plus an element of a low-rank matrix. The update has the weight's own rank.
///
///     y = W x + bias + (W ⊙ B A) drop(x)
///
/// Shapes   A (r, in), B (out, r) fp32. Start: A as in lora, B = 0.
/// Errors   a rank outside 1..min(in, out); a target that matches nothing.
/// Source   Huang et al. 2025, "HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language Models" (ICLR).
MethodSpec hira_method();

}  // namespace graft::peft
