#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Mixture of fractional-Fourier experts: low-rank experts whose factors live between the plain basis and Fourier's, each at an order of its own.
///   y = W x + b + s · Σ_e g_e(x) Re(F_out^{−a_e} B_e A_e F_in^{a_e} x),   a_e = sigmoid(θ_e),  g the k largest of softmax(R x), divided by their sum
///
/// Shapes   x (N, in) -> y (N, out), in and out even; A (E, r, in), B (E, out, r), θ (E), R (E, in), all fp32.
/// Init     A as lora's, B = 0, so attaching changes no output; orders spread over [0, 1]; R uniform in ±1/√in.
/// Gradient exact for the experts that a token goes to; which ones those are counts as a constant.
/// Cost     the transforms turn the factors, E r vectors a side, and not the tokens: the expert is then a real update of rank 2 r.
/// Merging  refused with more than one expert.
/// Source   after the idea of Saliencro et al. 2026, arXiv:2607.00162; docs/methods/frame.md says what is inferred.
MethodSpec frame_method();

}  // namespace graft::peft
