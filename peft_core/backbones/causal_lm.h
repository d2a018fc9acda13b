#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/ops/head_loss_op.h"
#include "peft_core/backbones/decoder_config.h"
#include "peft_core/backbones/decoder_layer.h"
#include "peft_core/backbones/weight_source.h"
#include "peft_core/slots/targets.h"

namespace graft::peft {

/// Sequences laid end to end, never padded.
struct TokenStream {
  at::Tensor ids;                 ///< (N) int64
  at::Tensor positions;           ///< (N) int64, from 0 in every sequence
  std::vector<int32_t> lengths;   ///< (S), sum N

  static TokenStream of(std::span<const int32_t> ids, std::span<const int32_t> lengths);
};

enum class Checkpointing { kOff, kEveryLayer };

/// A decoder-only language model of the Llama family. Knows nothing of adaptation methods: they change its places.
///
/// Axes     N tokens of all sequences, C hidden size, V vocabulary.
/// Throws   IoError for missing tensors, InvalidArgument for shapes that disagree with the config.
class CausalLm {
 public:
  CausalLm(DecoderConfig config, const WeightSource& weights, const BaseStorage& storage);
  CausalLm(const CausalLm&) = delete;
  CausalLm& operator=(const CausalLm&) = delete;

  const DecoderConfig& config() const { return config_; }
  const BaseStorage& storage() const { return storage_; }
  Places& places() { return places_; }
  const Places& places() const { return places_; }

  /// Where layers and head compute. The weights of a move follow when they are first used; an attached method has to be moved too, before the
  /// next pass. Tokens, positions and targets are given in the processor's memory, and numbers for it are returned there, as is said below.
  at::Device device() const { return device_; }
  void move_to(at::Device device);

  /// Output of the last layer before the final norm, (N, C), on device().
  at::Tensor hidden_states(const TokenStream& tokens, const ForwardContext& context,
                           Checkpointing checkpointing = Checkpointing::kOff) const;
  /// Σ −log p(target) over the places with target >= 0; targets (N) int64. Scalar fp32 on device(), differentiable.
  at::Tensor loss_sum(const at::Tensor& hidden, const at::Tensor& targets, const ForwardContext& context = {}) const;
  /// −log p(target) of the places with target >= 0, in order, (M) fp32; `best` receives each place's arg max. In the processor's memory.
  at::Tensor target_nll(const at::Tensor& hidden, const at::Tensor& targets, at::Tensor* best = nullptr,
                        const ForwardContext& context = {}) const;
  /// (N, C) -> (N, V) fp32 in the processor's memory.
  at::Tensor logits(const at::Tensor& hidden, const ForwardContext& context = {}) const;

  /// Room for one sequence of `tokens` tokens and whatever a method puts before them.
  SequenceCache cache_for(int64_t tokens) const;
  /// Runs the new tokens of several sequences, each against its own cache, and appends to the caches. Returns (N, C). No gradient.
  /// All sequences begin (their caches are empty), or none does.
  at::Tensor extend(const TokenStream& tokens, std::span<SequenceCache* const> caches, const ForwardContext& context = {}) const;

  /// Every stored matrix, for the memory plan, audits and hashes.
  std::vector<std::pair<std::string, std::shared_ptr<const FrozenLinear>>> frozen_matrices() const;
  /// Rows of the embedding under its published name; the head is "lm_head" among the places.
  const std::shared_ptr<const FrozenLinear>& embedding() const { return embedding_.base(); }

 private:
  RotaryAngles angles(const at::Tensor& positions) const;
  at::Tensor embed(const at::Tensor& ids) const;
  int64_t prefix_count() const { return places_.prefixes.empty() ? 0 : places_.prefixes.front()->count(); }
  /// The tokens as they enter the first layer; where sequences begin, behind what a method puts before them.
  struct Entering {
    at::Tensor x, positions;
    std::vector<int32_t> lengths;
  };
  Entering entering(const TokenStream& tokens, bool begins) const;
  void begin(SequenceCache& cache) const;
  /// The rows that have a target, for the head.
  struct Asked {
    at::Tensor rows;     // (M) int64, in the processor's memory
    at::Tensor input;    // (M, C)
    at::Tensor targets;  // (M) int64, beside input
  };
  Asked asked(const at::Tensor& hidden, const at::Tensor& targets) const;
  /// The head's weight a block of words at a time, where the layers compute.
  ops::HeadRows head_rows() const;

  DecoderConfig config_;
  BaseStorage storage_;
  at::Device device_ = at::kCPU;
  at::Tensor frequencies_;  // (D / 2) fp32
  EmbeddingSlot embedding_;
  std::vector<std::unique_ptr<DecoderLayer>> layers_;
  at::Tensor final_norm_;   // (C) fp32
  LinearSlot head_;
  PromptSlot prompt_;
  Places places_;
};

}  // namespace graft::peft
