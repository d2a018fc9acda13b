#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace graft::peft {

/// Which experts a token goes to.
struct Routing {
  at::Tensor probabilities;  ///< (N, E) fp32, softmax of the logits
  at::Tensor chosen;         ///< (N, E) 0 or 1, k ones a row
  at::Tensor gates;          ///< (N, E): the chosen probabilities over their sum; with k = 1 the probability itself, or it would have no gradient
};
Routing route(const at::Tensor& logits, int64_t top);

/// M Σ_m f_m P_m over groups of experts: f the share of the choices, P the mean probability of a group; 1 where both are even.
/// `groups` (E, M) 0 or 1, one group an expert. Gradient through P.
at::Tensor group_balance(const Routing& routing, const at::Tensor& groups);

/// y itself; in the backward pass `extra` (a scalar) is added to the loss. Unlike a loss that is collected outside, it works in a layer that is
/// computed again in the backward pass.
at::Tensor with_extra_loss(const at::Tensor& y, const at::Tensor& extra);

}  // namespace graft::peft
