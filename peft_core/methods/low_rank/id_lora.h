#pragma once

#include "peft_core/methods/method.h"

namespace graft::peft {

/// Low-rank adaptation on rows of the weight itself: k banks of r frozen rows of W, one trained matrix that all share, and a router that mixes
/// the banks for each token.
///   z_i = W[S_i] x,  α_i = t · z_i,  u = Σ α_i z_i,  y = W x + b + s · (B u_first, B u_second)
///
/// Shapes   x (N, in) -> y (N, out); S_i r row numbers, saved; B (out / 2, r / 2) for both halves of u ("rank boosting"), t (r), both fp32.
/// Init     B = 0, so attaching changes no output; t normal with variance 1 / r.
/// Gradient exact. Through z_i it goes back through W, in the one product that the base's part needs anyway.
/// Throws   InvalidArgument if a layer has fewer than k · r rows, or if r or out is odd with rank boosting.
/// Source   after the idea of Ma et al. 2026, arXiv:2602.20727; docs/methods/id_lora.md says what is inferred.
MethodSpec id_lora_method();

}  // namespace graft::peft
