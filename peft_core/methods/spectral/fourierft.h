#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// FourierFT: n numbers of the update's two-dimensional spectrum are trained, at places that a seed decides.
///
///     y = W x + bias + D x        D = scaling · Re ifft2(S), S (out, in) zero but for c at the n places
///
/// Shapes   c (n) fp32. Start: zero; standard normal with `init: normal`, which is not the identity.
/// Errors   n_frequency outside 1..in · out of a layer; a target or pattern that matches nothing.
/// Source   Gao et al. 2024, arXiv:2405.03003.
MethodSpec fourierft_method();

}  // namespace graft::peft
