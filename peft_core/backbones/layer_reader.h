#pragma once

#include <string>

#include "peft_core/backbones/weight_source.h"
#include "peft_core/slots/linear_slot.h"

namespace graft::peft {

/// Where the tensors of one part of a model come from: their names begin with `prefix`, and every shape is checked against the config.
struct LayerReader {
  const WeightSource& weights;
  const BaseStorage& storage;
  std::string prefix;

  /// "<prefix><part>.weight" (out, in) and, where the file has one, its bias (out).
  LinearSlot linear(const std::string& part, int64_t out, int64_t in, bool quantizable = true) const;
  /// fp32 copy of "<prefix><name>".
  at::Tensor tensor(const std::string& name, const std::vector<int64_t>& shape) const;
};

}  // namespace graft::peft
