#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "peft_core/slots/frozen_linear.h"

namespace graft::peft {

/// What a forward pass is for. The dropout seed is a pure function of (run seed, step, micro step), so that a step that is made
/// again, after a crash or by activation checkpointing, draws the same masks.
struct ForwardContext {
  bool training = false;
  uint64_t dropout_seed = 0;
};

/// What a slot tells its adapter about a call.
struct SlotCall {
  const std::shared_ptr<const FrozenLinear>& base;
  const at::Tensor& bias;  ///< (out), may be undefined
  const ForwardContext& context;
  uint64_t slot_seed;      ///< differs from slot to slot
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

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
  /// Further tensors that are saved with them but not trained.
  virtual NamedTensors fixed() const { return {}; }
};

}  // namespace graft::peft
