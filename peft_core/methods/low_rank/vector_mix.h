#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "peft_core/slots/adapter.h"

namespace graft::peft {

/// Which vectors of a VB-LoRA bank make up the pieces of one factor, and with which weights.
class VectorMix {
 public:
  /// Logits (.., vectors) to be trained.
  static VectorMix of_logits(at::Tensor logits, int64_t kept);
  /// What a file holds that keeps only the `kept` chosen numbers and their weights; filled by loading it.
  static VectorMix of_choices(at::IntArrayRef pieces, int64_t vectors, int64_t kept);

  /// The pieces, (.., L), from the bank (vectors, L).
  at::Tensor pieces(const at::Tensor& bank) const;

  bool trainable() const { return logits_.defined(); }
  const at::Tensor& logits() const { return logits_; }
  /// Numbers of the chosen vectors, largest weight first, in the smallest type that holds them, and all weights but the last.
  NamedTensors choices(const std::string& name) const;

 private:
  at::Tensor logits_;             // (.., vectors)
  at::Tensor indices_, weights_;  // (.., kept), (.., kept - 1)
  int64_t vectors_ = 0, kept_ = 0;
};

}  // namespace graft::peft
