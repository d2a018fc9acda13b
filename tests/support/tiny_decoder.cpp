#include "tests/support/tiny_decoder.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "kernels/base/error.h"
#include "peft_core/base/rng.h"
#include "peft_core/slots/quantized_linear.h"

namespace graft::testing {
namespace {

using peft::DecoderConfig;

constexpr int64_t kVocabulary = 131;

}  // namespace

TinyWeights::TinyWeights(const DecoderConfig& config, uint64_t seed) {
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const auto matrix = [&](const std::string& name, int64_t out, int64_t in) { add(name + ".weight", {out, in}, 0.125, 0, seed); };
  const auto norm = [&](const std::string& name, int64_t size) { add(name + ".weight", {size}, 0.2, 1, seed); };
  add("model.embed_tokens.weight", {config.vocabulary, hidden}, 0.3, 0, seed);
  for (int64_t i = 0; i < config.layers; ++i) {
    const auto layer = "model.layers." + std::to_string(i) + ".", attention = layer + "self_attn.";
    const std::pair<std::string, int64_t> projections[] = {
        {"q_proj", config.query_features()}, {"k_proj", config.key_value_features()}, {"v_proj", config.key_value_features()}};
    for (const auto& [part, out] : projections) {
      matrix(attention + part, out, hidden);
      if (config.model_type == "qwen2") add(attention + part + ".bias", {out}, 0.3, 0, seed);
    }
    matrix(attention + "o_proj", hidden, config.query_features());
    matrix(layer + "mlp.gate_proj", inner, hidden);
    matrix(layer + "mlp.up_proj", inner, hidden);
    matrix(layer + "mlp.down_proj", hidden, inner);
    norm(layer + "input_layernorm", hidden);
    norm(layer + "post_attention_layernorm", hidden);
    if (config.query_key_norm) norm(attention + "q_norm", config.head_size), norm(attention + "k_norm", config.head_size);
  }
  norm("model.norm", hidden);
  if (!config.tied_head) matrix("lm_head", config.vocabulary, hidden);
}

void TinyWeights::add(const std::string& name, at::IntArrayRef sizes, double scale, double mean, uint64_t seed) {
  auto random = at::make_generator<at::CPUGeneratorImpl>(stream_seed(seed, name));
  tensors_[name] = at::randn(sizes, random, at::TensorOptions().dtype(at::kFloat)).mul_(scale).add_(mean);
}

std::vector<int64_t> TinyWeights::shape(const std::string& name) const { return small(name).sizes().vec(); }

at::Tensor TinyWeights::small(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw IoError({.where = "tiny weights", .what = "has no tensor '" + name + "'"});
  return found->second.clone();
}

std::shared_ptr<peft::FrozenLinear> TinyWeights::matrix(const std::string& name, const peft::BaseStorage& storage,
                                                        bool quantizable) const {
  const auto weight = small(name);
  if (storage.quantize == peft::Quantize::kNf4 && quantizable) return peft::nf4_linear(weight, /*block_size=*/64, [weight] { return weight; });
  if (storage.quantize == peft::Quantize::kKeep) return q8_0_linear(weight);
  return peft::dense_linear(weight.to(storage.dtype));
}

std::shared_ptr<peft::FrozenLinear> q8_0_linear(const at::Tensor& weight) {
  const auto dense = weight.to(at::kFloat).contiguous();
  const auto layout = kernels::block_layout(kernels::GgmlType::kQ8_0);
  const auto count = static_cast<size_t>(dense.numel());
  const auto blocks = std::make_shared<std::vector<std::byte>>(count / layout.elements * layout.bytes);
  kernels::quantize_q8_0({dense.const_data_ptr<float>(), count}, *blocks);
  return peft::gguf_linear(kernels::GgmlType::kQ8_0, dense.size(0), dense.size(1), *blocks, blocks);
}

DecoderConfig tiny_config(const std::string& kind) {
  DecoderConfig config;
  config.model_type = kind;
  config.hidden_size = 64;
  config.layers = 2;
  config.heads = 4;
  config.key_value_heads = 2;
  config.head_size = kind == "qwen3" ? 24 : 16;
  config.intermediate_size = 96;
  config.vocabulary = kVocabulary;
  config.max_positions = 512;
  config.tied_head = kind == "llama";
  config.query_key_norm = kind == "qwen3";
  config.sliding_window = kind == "mistral" ? 5 : 0;
  return config;
}

std::unique_ptr<peft::CausalLm> tiny_model(const std::string& kind, const peft::BaseStorage& storage, uint64_t seed) {
  const auto config = tiny_config(kind);
  return std::make_unique<peft::CausalLm>(config, TinyWeights(config, seed), storage);
}

TinyBatch tiny_batch(std::vector<int32_t> lengths, int32_t first) {
  TinyBatch batch{{}, std::move(lengths), {}};
  std::vector<int64_t> targets;
  for (const auto length : batch.lengths)
    for (int32_t i = 0; i < length; ++i) {
      const auto n = static_cast<int64_t>(batch.ids.size());
      batch.ids.push_back(static_cast<int32_t>((first + 37 * n + n * n) % kVocabulary));
      targets.push_back(n % 3 == 1 ? -1 : (first + 11 * n * n + 5) % kVocabulary);
    }
  batch.targets = at::tensor(at::ArrayRef<int64_t>(targets), at::kLong);
  return batch;
}

}  // namespace graft::testing
