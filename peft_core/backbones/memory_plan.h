#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "peft_core/backbones/decoder_config.h"

namespace graft::peft {

struct MemoryDemand {
  DecoderConfig config;
  int64_t weight_bytes = 0;         ///< frozen matrices as stored
  int64_t second_packing = 0;       ///< bytes of a second copy of them for backward products; 0: not made
  int64_t largest_matrix = 0;       ///< weights of the largest matrix that is expanded before a product; 0: none is
  int64_t trainable = 0;            ///< parameters
  int64_t moments = 2;              ///< numbers that the optimizer keeps for each of them beside its gradient
  int64_t tokens = 0;               ///< tokens of one micro step
  at::ScalarType compute = at::kFloat;  ///< of activations
  bool checkpointing = false;       ///< activations of one layer at a time
  bool on_gpu = false;              ///< the plan is one of a GPU's memory
};

/// What a training step will need, before it runs. An estimate from sizes alone; bytes.
struct MemoryPlan {
  int64_t weights = 0;       ///< the frozen base
  int64_t second_copy = 0;   ///< of it, in the order of backward products
  int64_t adapters = 0;      ///< fp32 values
  int64_t optimizer = 0;     ///< gradients and moments; of a GPU's memory, gradients and the copy that the processor's update goes through
  int64_t activations = 0;   ///< kept for the backward pass, and its largest temporaries
  int64_t head = 0;          ///< one block of logits and the head's gradient
  int64_t scratch = 0;       ///< expanded weights
  int64_t program = 0;       ///< libraries, tokenizer, buffers, what LibTorch's operators keep
  int64_t total() const { return weights + second_copy + adapters + optimizer + activations + head + scratch + program; }
};

MemoryPlan plan_memory(const MemoryDemand& demand);

/// One line a part, in MiB.
std::string to_text(const MemoryPlan& plan);

}  // namespace graft::peft
