#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Non-linear rank adaptation (NoRA, later CeRA): a low-rank branch that bends in its bottleneck.
///   y = W x + b + s · B drop(silu(A x))
///
/// Shapes   x (N, in) -> y (N, out); A (r, in), B (out, r), both fp32.
/// Init     A normal with variance 2 / in (Kaiming for ReLU), B = 0, so attaching changes no output.
/// Gradient exact.
/// Merging  refused: no weight gives a branch that is not linear. With `activation: identity` it is LoRA with alpha = r, and merges.
/// Throws   InvalidArgument if the rank is below 1 or above min(in, out), or a target matches nothing.
/// Source   Chen 2026, arXiv:2602.22911; scale, start and the dropout's place as in the author's code.
MethodSpec nora_method();

}  // namespace graft::peft
