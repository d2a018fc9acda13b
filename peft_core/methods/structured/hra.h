#pragma once

#include <ATen/core/Tensor.h>

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Householder reflection adaptation: the inputs pass a chain of reflections before they meet the frozen weight.
///   y = W R x + b,   R = H_1 H_2 .. H_r,   H_i = I − 2 u_i u_iᵀ with u_i of length 1
///   apply_GS:        R = I − 2 V Vᵀ, V the u's made orthogonal (Gram–Schmidt)
///
/// Shapes   hra_u (in, r) fp32, the u's as columns, of any length. Start: pairs of equal columns, which undo each other, so R = I.
/// Cost     R − I has rank r, so a call is one of LoRA's with A = Sᵀ and B = W L, where R = I + L Sᵀ.
/// Source   Yuan et al. 2024, arXiv:2405.17484; files of Hugging Face PEFT's HRA.
MethodSpec hra_method();

/// R = I + left rightᵀ.
struct ReflectionChain {
  at::Tensor left, right;  // (in, r) each
};

/// Of H_1 .. H_r for `u` (in, r). Where columns are equal in pairs (1st and 2nd, 3rd and 4th, ..), left rightᵀ is exactly 0 (see hra.cpp).
ReflectionChain reflection_chain(const at::Tensor& u);
/// Of I − 2 V Vᵀ, V an orthonormal basis of the columns of `u` (in, r), r <= in.
ReflectionChain orthogonal_reflections(const at::Tensor& u);

}  // namespace graft::peft
