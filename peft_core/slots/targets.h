#pragma once

#include <functional>
#include <string>
#include <vector>

#include "peft_core/slots/activation_slot.h"
#include "peft_core/slots/embedding_slot.h"
#include "peft_core/slots/linear_slot.h"
#include "peft_core/slots/prompt_slot.h"

namespace graft::peft {

/// An existing parameter that a method may release for training (a bias, a norm's weight, an embedding).
struct ParameterSlot {
  enum class Kind { kBias, kNorm, kNormBias, kEmbedding, kOther };
  std::string name;              ///< as published: "model.layers.0.input_layernorm.weight"
  Kind kind = Kind::kBias;
  at::Tensor* tensor = nullptr;  ///< where the model keeps it; fp32
};

/// Every place of a model that a method may change.
struct Places {
  std::vector<LinearSlot*> linears;        ///< all but the head
  LinearSlot* head = nullptr;
  EmbeddingSlot* embedding = nullptr;
  std::vector<ParameterSlot> parameters;
  std::vector<ActivationSlot*> activations;  ///< after each block, in the model's order
  PromptSlot* prompt = nullptr;
  std::vector<PrefixSlot*> prefixes;         ///< one a layer
};

/// The linear slots that patterns choose, in the model's order. A pattern is
///   "all-linear": every linear layer but the head;
///   a name or its end after a dot: "q_proj", "self_attn.q_proj", "lm_head";
///   a regular expression over the whole name, recognised by any of * + ? ( ) [ ] { } | \ ^ $.
/// Throws   InvalidArgument for no pattern, for one that matches nothing (with the nearest known ending), or a malformed expression.
std::vector<LinearSlot*> matching_linears(const Places& places, const std::vector<std::string>& patterns,
                                          const std::string& where);

/// True if Hugging Face PEFT's rule for `rank_pattern` keys applies: an expression that matches the name's end after a dot.
bool pattern_matches_end(const std::string& pattern, const std::string& name);

}  // namespace graft::peft
