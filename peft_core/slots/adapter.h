#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "peft_core/slots/adapter_choice.h"
#include "peft_core/slots/frozen_linear.h"

namespace graft::peft {

/// What a forward pass is for. The dropout seed is a pure function of (run seed, step, micro step), so that a step that is made
/// again, after a crash or by activation checkpointing, draws the same masks.
struct ForwardContext {
  bool training = false;
  uint64_t dropout_seed = 0;
  /// Where several adapters stand side by side, those that work in this pass; null: each with its own weight.
  std::shared_ptr<const AdapterChoice> adapters;
};

/// What a slot tells its adapter about a call.
struct SlotCall {
  const std::shared_ptr<const FrozenLinear>& base;
  const at::Tensor& bias;  ///< (out), may be undefined
  const ForwardContext& context;
  uint64_t slot_seed;      ///< differs from slot to slot
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// An update of a weight as the product scale · b a.
struct LowRankUpdate {
  at::Tensor a;        ///< (r, in)
  at::Tensor b;        ///< (out, r)
  double scale = 1;
  double dropout = 0;  ///< of its input, while training
};

/// Changes what one linear layer computes. Knows neither the model nor how the base stores its weight.
class Adapter {
 public:
  virtual ~Adapter() = default;
  /// (N, in) -> (N, out), bias included.
  virtual at::Tensor forward(const at::Tensor& x, const SlotCall& call) const = 0;
  /// The weight that gives the same outputs without the adapter, fp32 (out, in).
  virtual at::Tensor merged_weight(const FrozenLinear& base) const = 0;
  /// Trainable leaves under their published names: "lora_A.weight", ...
  virtual NamedTensors parameters() const = 0;
  /// Further tensors that are saved with them but not trained. One of a leaf's name is saved in the leaf's place, which is a part of it.
  virtual NamedTensors fixed() const { return {}; }
  /// Takes all that forward() reads to `device`: what parameters() and fixed() name, and whatever else the adapter holds.
  virtual void move_to(at::Device device) const;
  /// The bias that goes with merged_weight(), (out). Asked for only where the layer has one.
  virtual at::Tensor merged_bias(const at::Tensor& bias) const { return bias; }
  /// The adapter's own factors where it does nothing but add their product to the weight: such adapters share one product of the base.
  virtual std::optional<LowRankUpdate> low_rank() const { return std::nullopt; }
};

}  // namespace graft::peft
