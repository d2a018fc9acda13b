#include <ATen/ATen.h>

#include <cmath>

#include "tests/support/tiny_decoder.h"

namespace graft::testing {
namespace {

using Weights = std::map<std::string, at::Tensor>;

at::Tensor normed(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x * at::rsqrt(x.square().mean(-1, true) + epsilon) * weight;
}

/// x (T, H, D), positions 0..T-1.
at::Tensor rotated(const at::Tensor& x, const peft::DecoderConfig& config) {
  const auto frequencies = peft::rotary_frequencies(config);
  const auto angle = at::outer(at::arange(x.size(0), at::kDouble), at::tensor(at::ArrayRef<float>(frequencies)).to(at::kDouble));
  const auto c = at::cos(angle).unsqueeze(1), s = at::sin(angle).unsqueeze(1);
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1);
}

struct Layer {
  const peft::DecoderConfig& config;
  const Weights& weights;
  std::string prefix;

  at::Tensor linear(const std::string& part, const at::Tensor& x) const {
    const auto y = at::mm(x, weights.at(prefix + part + ".weight").t());
    const auto bias = weights.find(prefix + part + ".bias");
    return bias == weights.end() ? y : y + bias->second;
  }
  at::Tensor heads(const std::string& part, const std::string& norm, const at::Tensor& x, int64_t count) const {
    const auto y = linear(part, x).view({x.size(0), count, config.head_size});
    return norm.empty() || !config.query_key_norm ? y : normed(y, weights.at(prefix + norm + ".weight"), config.norm_epsilon);
  }

  at::Tensor attention(const at::Tensor& x) const {
    const auto group = config.heads / config.key_value_heads, tokens = x.size(0);
    const auto q = rotated(heads("self_attn.q_proj", "self_attn.q_norm", x, config.heads), config).permute({1, 0, 2});
    const auto k = rotated(heads("self_attn.k_proj", "self_attn.k_norm", x, config.key_value_heads), config);
    const auto v = heads("self_attn.v_proj", "", x, config.key_value_heads);
    const auto keys = k.repeat_interleave(group, 1).permute({1, 2, 0}), values = v.repeat_interleave(group, 1).permute({1, 0, 2});
    const auto distance = at::arange(tokens).unsqueeze(1) - at::arange(tokens).unsqueeze(0);
    auto hidden = distance.lt(0);
    if (config.sliding_window > 0) hidden = at::logical_or(hidden, distance.ge(config.sliding_window));
    const auto scores = at::bmm(q, keys) / std::sqrt(static_cast<double>(config.head_size));
    const auto p = at::softmax(scores.masked_fill(hidden, -INFINITY), -1);
    return linear("self_attn.o_proj", at::bmm(p, values).permute({1, 0, 2}).reshape({tokens, config.query_features()}));
  }

  at::Tensor forward(const at::Tensor& x) const {
    const auto middle = x + attention(normed(x, weights.at(prefix + "input_layernorm.weight"), config.norm_epsilon));
    const auto inner = normed(middle, weights.at(prefix + "post_attention_layernorm.weight"), config.norm_epsilon);
    return middle + linear("mlp.down_proj", at::silu(linear("mlp.gate_proj", inner)) * linear("mlp.up_proj", inner));
  }
};

}  // namespace

at::Tensor reference_logits(const peft::DecoderConfig& config, const Weights& weights64, const TinyBatch& batch) {
  const auto ids = at::tensor(at::ArrayRef<int32_t>(batch.ids)).to(at::kLong);
  const auto& embedding = weights64.at("model.embed_tokens.weight");
  const auto& head = config.tied_head ? embedding : weights64.at("lm_head.weight");
  std::vector<at::Tensor> sequences;
  int64_t start = 0;
  for (const int64_t length : batch.lengths) {
    auto x = embedding.index_select(0, ids.narrow(0, start, length));
    for (int64_t i = 0; i < config.layers; ++i) x = Layer{config, weights64, "model.layers." + std::to_string(i) + "."}.forward(x);
    sequences.push_back(at::mm(normed(x, weights64.at("model.norm.weight"), config.norm_epsilon), head.t()));
    start += length;
  }
  return at::cat(sequences);
}

Weights in_float64(const Weights& tensors) {
  Weights exact;
  for (const auto& [name, tensor] : tensors) exact[name] = tensor.to(at::kDouble);
  return exact;
}

}  // namespace graft::testing
