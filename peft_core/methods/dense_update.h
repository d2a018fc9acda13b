#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "peft_core/slots/frozen_linear.h"

namespace graft::peft {

/// The update D (out, in) fp32 of a layer, built from the leaves by operators that autograd knows.
using MakeUpdate = std::function<at::Tensor(const std::vector<at::Tensor>& leaves)>;

/// y = x Wᵀ + bias + drop(x) Dᵀ, for updates that no two thin matrices hold. D is not kept: the backward pass makes it again, so that a step
/// holds one D at a time, and x as kernels/ops/kept_input.h keeps it. Beside the base's two products that costs three of the same size, and D twice.
///
/// Shapes   x (N, in); one or two leaves, fp32; bias (out) or undefined; y (N, out) in x's dtype.
/// Gradient exact for x, leaves and bias; none for W.
/// Dropout  with probability p on x, in the update's branch only; the mask is drawn from `seed` and drawn again in the backward pass.
at::Tensor dense_update_linear(const at::Tensor& x, const std::vector<at::Tensor>& leaves, const MakeUpdate& make,
                               const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias, double dropout = 0, uint64_t seed = 0);

}  // namespace graft::peft
