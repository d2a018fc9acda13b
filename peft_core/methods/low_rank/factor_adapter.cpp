#include "peft_core/methods/low_rank/factor_adapter.h"

#include <ATen/ATen.h>

#include "peft_core/methods/low_rank/low_rank_op.h"

namespace graft::peft {

at::Tensor FactorAdapter::forward(const at::Tensor& x, const SlotCall& call) const {
  const auto update = low_rank();
  if (!update) return frozen_linear(x, call.base, call.bias);
  const double dropout = call.context.training ? update->dropout : 0.0;
  return low_rank_linear(x, update->a, update->b, update->scale, call.base, call.bias, dropout, call.context.dropout_seed ^ call.slot_seed);
}

at::Tensor FactorAdapter::merged_weight(const FrozenLinear& base) const {
  const at::NoGradGuard no_gradient;
  const auto update = low_rank();
  return update ? base.weight().addmm_(update->b, update->a, 1, update->scale) : base.weight();
}

}  // namespace graft::peft
