#pragma once

#include "peft_core/slots/adapter.h"

namespace graft::peft {

/// An adapter whose update is a product of two factors that it makes anew from its leaves in every pass; low_rank() makes them. Gradients
/// flow through them into the leaves; a factor without any costs no gradient product. No factors: the layer as it is.
class FactorAdapter : public Adapter {
 public:
  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override;
  at::Tensor merged_weight(const FrozenLinear& base) const override;
};

}  // namespace graft::peft
