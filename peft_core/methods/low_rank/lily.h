#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Lily: layers share what LoRA gives each of them. Some neighbours share one A; all layers of a kind share several B, which each layer mixes
/// with a router of its own.
///
///     h = A x        p = softmax(R h), the mean over all rows of the call        y = W x + bias + scaling · (Σ_e p_e B_e)ᵀ h
///
/// With `routing: token`, p is each row's own.
///
/// Shapes   A (r, in) for stride_A layers, B (num_B r, out) for all layers of one target and size, R (num_B, r) for each layer; fp32.
///          Start: A and R uniform in ±1/√columns, B = 0.
/// Errors   num_B below 2, stride_A below 1; a target that matches nothing.
/// Source   Zhong et al. 2024, arXiv:2407.09946.
MethodSpec lily_method();

}  // namespace graft::peft
