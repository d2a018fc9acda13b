#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Continual learning with one small adapter a task and a gate that keeps only those that are worth their price.
///   y = W x + b + Σ_{kept i < t} α_i B_i A_i x / (‖A_i‖ ‖B_i‖) + β α_t B_t A_t x
///
/// Shapes   x (N, in) -> y (N, out); A_i (r, in), B_i (out, r); one α_i a task and one gate β, 0 or 1, for all layers.
/// Tasks    the first run learns task 0; each run that starts from its adapter (--init-adapter) opens the next one.
/// Init     A as lora's, B = 0: a new task changes no output before it learns.
/// Gradient exact; the gate's is that of its sigmoid (straight through).
/// Merging  exact, all factors are constants then.
/// Source   Dieudonne et al. 2026, arXiv:2606.28117, and its released code.
MethodSpec lite_lora_method();

}  // namespace graft::peft
