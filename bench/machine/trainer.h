#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/machine/random_weights.h"
#include "peft_core/backbones/causal_lm.h"
#include "peft_core/methods/method.h"
#include "pipelines/optimizer.h"

namespace graft::bench {

constexpr int64_t kRank = 16;
constexpr double kLearningRate = 1e-4, kAdapterScale = 2.0;  // alpha 32

/// Sequences of equal length, end to end, with random ids and targets.
struct StepData {
  StepData(const peft::DecoderConfig& config, int64_t sequences, int64_t length);
  int64_t sequences, length;
  peft::TokenStream tokens;
  at::Tensor targets;  ///< (N)
  int64_t size() const { return sequences * length; }
};

/// FLOP that a step cannot do without: two products with each frozen matrix, six with each factor, attention's seven, the head's two.
double step_flops(const peft::DecoderConfig& config, const StepData& data);

/// A decoder on our kernels with LoRA on every linear layer: one adapter for all sequences, or several that take them in turn.
class OurTrainer {
 public:
  OurTrainer(const peft::DecoderConfig& config, const RandomWeights& weights, at::ScalarType dtype, int64_t adapters = 1);

  /// Of the only adapter: "<layer>.lora_A.weight" and "<layer>.lora_B.weight".
  std::map<std::string, at::Tensor> factors() const { return attachment_->state(); }
  /// One optimizer step; returns the mean loss.
  double step(const StepData& data);

 private:
  std::unique_ptr<peft::Attachment> attach(int64_t adapters);
  std::shared_ptr<const peft::AdapterChoice> choice(const StepData& data) const;

  peft::CausalLm model_;
  std::unique_ptr<peft::Attachment> attachment_;
  int64_t adapters_;
  std::unique_ptr<pipelines::AdamW> optimizer_;
};

}  // namespace graft::bench
