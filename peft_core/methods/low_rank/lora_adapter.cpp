#include "peft_core/methods/low_rank/lora_adapter.h"

#include <ATen/ATen.h>

#include "peft_core/methods/low_rank/low_rank_op.h"

namespace graft::peft {

at::Tensor LoraAdapter::forward(const at::Tensor& x, const SlotCall& call, const std::shared_ptr<const FrozenLinear>& base) const {
  const double dropout = call.context.training ? dropout_ : 0.0;
  return low_rank_linear(x, factors_.a, factors_.b, scale_, base, call.bias, dropout, call.context.dropout_seed ^ call.slot_seed);
}

at::Tensor LoraAdapter::merged_weight(const FrozenLinear& base) const {
  return base.weight().addmm_(factors_.b.detach(), factors_.a.detach(), 1, scale_);
}

}  // namespace graft::peft
