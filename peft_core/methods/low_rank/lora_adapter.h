#pragma once

#include "peft_core/methods/low_rank/lora_family.h"

namespace graft::peft {

/// y = base(x) + s · B A drop(x), whatever A and B start from.
class LoraAdapter : public Adapter {
 public:
  LoraAdapter(LoraFactors factors, const LoraLayer& layer) : factors_(std::move(factors)), scale_(layer.scale), dropout_(layer.dropout) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override { return forward(x, call, call.base); }
  at::Tensor merged_weight(const FrozenLinear& base) const override;
  std::optional<LowRankUpdate> low_rank() const override { return LowRankUpdate{factors_.a, factors_.b, scale_, dropout_}; }
  NamedTensors parameters() const override { return {{"lora_A.weight", factors_.a}, {"lora_B.weight", factors_.b}}; }

 protected:
  at::Tensor forward(const at::Tensor& x, const SlotCall& call, const std::shared_ptr<const FrozenLinear>& base) const;
  const LoraFactors& factors() const { return factors_; }
  double scale() const { return scale_; }

 private:
  LoraFactors factors_;
  double scale_, dropout_;
};

}  // namespace graft::peft
