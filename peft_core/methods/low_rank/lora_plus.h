#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// LoRA+: lora whose B learns at a higher rate than its A.
///   rate(A) = train.learning_rate,   rate(B) = learning_rate_ratio · train.learning_rate
///
/// Shapes   as LoRA.
/// Source   Hayou, Ghosh, Yu 2024, arXiv:2402.12354.
MethodSpec lora_plus_method();

}  // namespace graft::peft
