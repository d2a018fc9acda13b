#pragma once

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

namespace graft::ops {

/// Operator::apply(arguments...), and where no gradient is recorded the forward pass alone: a node that nobody asks takes longer to make than
/// many an operator on one token takes to compute.
template <class Operator, class... Arguments>
auto apply(const Arguments&... arguments) -> decltype(Operator::apply(arguments...)) {
  if (at::GradMode::is_enabled()) return Operator::apply(arguments...);
  torch::autograd::AutogradContext context;
  return Operator::forward(&context, arguments...);
}

}  // namespace graft::ops
