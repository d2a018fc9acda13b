#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// SHiRA: a few elements of the weight, at random places that never change, get a number of their own that is added.
///
///     y = W x + bias + D x        D[p_k, q_k] = v_k, zero elsewhere
///
/// Shapes   v (n) fp32 and its places (2, n) int32, saved with it; n = r (in + out). Start: v = 0.
/// Errors   n above in · out; a target that matches nothing; places in a file that lie outside the weight.
/// Source   Bhardwaj et al. 2024, arXiv:2406.13175 (the random mask, SHiRA-Rand).
MethodSpec shira_method();

}  // namespace graft::peft
