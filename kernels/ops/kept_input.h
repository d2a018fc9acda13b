#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

namespace graft::ops {

// The input of a linear layer is needed again for the gradients of its adapter. Where it came out of a normalisation or a gated unit, the
// operator that made it keeps what it takes to make it once more, in one pass through memory; so only that operator is remembered, and the
// activation itself is let go until the backward pass asks for it. For SmolLM2 that is a third of all activations.

/// Call in forward(), beside save_for_backward(). `x` is an input of the operator.
void keep_input(torch::autograd::AutogradContext* ctx, const at::Tensor& x);

/// The same values in backward(). Only what keep_input() put there is read.
at::Tensor kept_input(torch::autograd::AutogradContext* ctx);

}  // namespace graft::ops
