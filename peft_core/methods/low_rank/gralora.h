#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// GraLoRA: the weight is cut into k x k blocks, and each has a low-rank pair of its own, of rank r / k. With hybrid_r, one plain pair over all.
///
///     y_j = (W x + bias)_j + s Σ_i B[j, i]ᵀ A[i, j]ᵀ x_i   (+ s (B° A° x)_j)        s = alpha / (r + hybrid_r); i, j = 0..k-1
///
/// Shapes   A (k, in / k, r), B (k, r, out / k); A° (hybrid_r, in), B° (out, hybrid_r); fp32. A[i, j] and B[j, i] are slices of r / k columns
///          and rows. Start: A as in lora (±1/√(in / k)), B = 0.
/// Errors   r, in or out not divisible by k; a target that matches nothing.
/// Source   Jung et al. 2025, arXiv:2505.20355.
MethodSpec gralora_method();

}  // namespace graft::peft
