#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "peft_core/backbones/causal_lm.h"

namespace graft::testing {

/// Random weights under the Hugging Face names, the same for the same seed: a checkpoint without a file.
class TinyWeights final : public peft::WeightSource {
 public:
  TinyWeights(const peft::DecoderConfig& config, uint64_t seed);

  bool has(const std::string& name) const override { return tensors_.contains(name); }
  std::vector<int64_t> shape(const std::string& name) const override;
  at::Tensor small(const std::string& name) const override;
  /// kKeep: as Q8_0 blocks, made from the fp32 weight.
  std::shared_ptr<peft::FrozenLinear> matrix(const std::string& name, const peft::BaseStorage& storage,
                                             bool quantizable) const override;

  std::map<std::string, at::Tensor>& tensors() { return tensors_; }  ///< fp32
  const std::map<std::string, at::Tensor>& tensors() const { return tensors_; }

 private:
  void add(const std::string& name, at::IntArrayRef sizes, double scale, double mean, uint64_t seed);
  std::map<std::string, at::Tensor> tensors_;
};

/// Two layers of width 64 with grouped heads: "qwen2" (biases on q, k, v), "qwen3" (q/k norm, head size 24), "llama" (tied head, as
/// SmolLM2), "mistral" (a window of 5 keys).
peft::DecoderConfig tiny_config(const std::string& kind);

constexpr peft::BaseStorage kDense{.dtype = at::kFloat, .quantize = peft::Quantize::kNone, .compute = at::kFloat};
constexpr peft::BaseStorage kDenseBf16{.dtype = at::kBFloat16, .quantize = peft::Quantize::kNone, .compute = at::kBFloat16};
constexpr peft::BaseStorage kNf4{.dtype = at::kFloat, .quantize = peft::Quantize::kNf4, .compute = at::kFloat};
constexpr peft::BaseStorage kBlocks{.dtype = at::kFloat, .quantize = peft::Quantize::kKeep, .compute = at::kFloat};

std::unique_ptr<peft::CausalLm> tiny_model(const std::string& kind, const peft::BaseStorage& storage = kDense, uint64_t seed = 1);

/// Q8_0 blocks of a weight, held by the result.
std::shared_ptr<peft::FrozenLinear> q8_0_linear(const at::Tensor& weight);

/// Tokens and next-token targets of a few sequences; every third target is left out (-1).
struct TinyBatch {
  std::vector<int32_t> ids, lengths;
  at::Tensor targets;

  peft::TokenStream stream() const { return peft::TokenStream::of(ids, lengths); }
};
TinyBatch tiny_batch(std::vector<int32_t> lengths = {7, 1, 12}, int32_t first = 3);

/// The decoder in float64 from plain ATen operators, differentiable in every weight: (N, V) logits.
at::Tensor reference_logits(const peft::DecoderConfig& config, const std::map<std::string, at::Tensor>& weights64,
                            const TinyBatch& batch);
std::map<std::string, at::Tensor> in_float64(const std::map<std::string, at::Tensor>& tensors);

}  // namespace graft::testing
