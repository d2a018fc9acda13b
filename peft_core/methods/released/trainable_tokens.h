#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "peft_core/methods/method.h"

namespace graft::peft {

struct TrainableTokensConfig {
  std::string name = "trainable_tokens";
  std::vector<int64_t> token_indices;
  bool init_weights = true;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("token_indices", token_indices, "ids of the tokens whose vectors are trained; empty: all of the vocabulary");
    v("init_weights", init_weights, "start from the tokens' own vectors; false: Gaussian, for tokens that mean nothing yet");
  }
};

/// Trains the embedding of single tokens: (K, C) fp32 stands in place of their rows. Where the head is tied to the embedding, its rows follow.
/// Throws   InvalidArgument for an id outside the vocabulary or given twice, and for a model that reads no tokens.
/// Source   file layout and semantics of PEFT's TRAINABLE_TOKENS.
MethodSpec trainable_tokens_method();

}  // namespace graft::peft
