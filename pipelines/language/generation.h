#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data_loaders/text/tokenizer.h"
#include "peft_core/backbones/causal_lm.h"

namespace graft::pipelines {

struct SamplingOptions {
  int64_t max_new_tokens = 256;
  double temperature = 0;   ///< 0: greedy
  int64_t top_k = 0;        ///< only the k likeliest; 0: all
  double top_p = 1;         ///< the smallest set with this much probability
  uint64_t seed = 42;
  std::vector<peft::AdapterWeights> adapters = {};  ///< of each prompt, where several adapters stand side by side; none: as the model has them
  int64_t vocabulary = 0;   ///< only ids below it: models often have more rows than their tokenizer has ids; 0: all
};

/// Called for every new token of prompt number `prompt`; false stops that prompt.
using OnToken = std::function<bool(size_t prompt, data::TokenId id)>;

/// Continues several prompts at once with key-value caches; each stops at a stop token (not returned) or at max_new_tokens.
/// A sampled continuation depends on (seed, prompt number, position) alone, not on its neighbours in the batch, but for rounding: up to 8
/// prompts at a time are multiplied another way than more are.
/// Throws InvalidArgument for an empty prompt or a temperature below 0.
std::vector<std::vector<data::TokenId>> generate(const peft::CausalLm& model, const std::vector<std::vector<data::TokenId>>& prompts,
                                                 std::span<const data::TokenId> stop, const SamplingOptions& options,
                                                 const OnToken& on_token = {});

}  // namespace graft::pipelines
