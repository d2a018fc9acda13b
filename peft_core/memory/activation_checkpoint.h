#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace graft::peft {

/// block(x), keeping only x: the block runs again in the backward pass. The block must be a pure function of x and of leaves that
/// collect gradients (dropout included: see ForwardContext), so that the second run repeats the first bit for bit.
/// x must require a gradient, or nothing inside the block will get one.
at::Tensor checkpointed(std::function<at::Tensor(const at::Tensor&)> block, const at::Tensor& x);

}  // namespace graft::peft
