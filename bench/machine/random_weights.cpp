#include "bench/machine/random_weights.h"

#include <ATen/ATen.h>

#include <cmath>

#include "bench/machine/bench.h"

namespace graft::bench {

peft::DecoderConfig smollm2_config() {
  peft::DecoderConfig config;
  config.model_type = "llama";
  config.hidden_size = 576;
  config.layers = 30;
  config.heads = 9;
  config.key_value_heads = 3;
  config.head_size = 64;
  config.intermediate_size = 1536;
  config.vocabulary = 49152;
  config.max_positions = 8192;
  config.rope_theta = 100000;
  config.tied_head = true;
  return config;
}

RandomWeights::RandomWeights(const peft::DecoderConfig& config, at::ScalarType dtype) {
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const auto matrix = [&](const std::string& name, int64_t out, int64_t in) {
    tensors_[name + ".weight"] = random_tensor({out, in}, dtype, 1 / std::sqrt(static_cast<double>(in)));
  };
  const auto norm = [&](const std::string& name) { tensors_[name + ".weight"] = random_tensor({hidden}, at::kFloat, 0.1).add_(1); };
  tensors_["model.embed_tokens.weight"] = random_tensor({config.vocabulary, hidden}, dtype, 0.05);
  for (int64_t i = 0; i < config.layers; ++i) {
    const auto layer = "model.layers." + std::to_string(i) + ".";
    matrix(layer + "self_attn.q_proj", config.query_features(), hidden);
    matrix(layer + "self_attn.k_proj", config.key_value_features(), hidden);
    matrix(layer + "self_attn.v_proj", config.key_value_features(), hidden);
    matrix(layer + "self_attn.o_proj", hidden, config.query_features());
    matrix(layer + "mlp.gate_proj", inner, hidden);
    matrix(layer + "mlp.up_proj", inner, hidden);
    matrix(layer + "mlp.down_proj", hidden, inner);
    norm(layer + "input_layernorm"), norm(layer + "post_attention_layernorm");
  }
  norm("model.norm");
}

RandomWeights::RandomWeights(const RandomWeights& others, at::ScalarType dtype) {
  for (const auto& [name, tensor] : others.tensors_) tensors_[name] = tensor.dim() == 2 ? tensor.to(dtype) : tensor;
}

at::Tensor RandomWeights::small(const std::string& name) const { return tensor(name).to(at::kFloat).clone(); }

std::shared_ptr<peft::FrozenLinear> RandomWeights::matrix(const std::string& name, const peft::BaseStorage& storage, bool) const {
  return peft::dense_linear(tensor(name).to(storage.dtype));
}

}  // namespace graft::bench
