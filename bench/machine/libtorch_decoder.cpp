#include "bench/machine/libtorch_decoder.h"

#include <ATen/ATen.h>

#include "bench/machine/bench.h"
#include "bench/machine/libtorch_head.h"

namespace graft::bench {

RotaryTable::RotaryTable(int64_t length, int64_t width, double theta, at::ScalarType dtype) {
  const auto frequencies = at::pow(theta, at::arange(0, width, 2, at::kDouble).div_(-static_cast<double>(width)));
  const auto angles = at::outer(at::arange(length, at::kDouble), frequencies);
  cosine = at::cos(angles).to(at::kFloat), sine = at::sin(angles).to(at::kFloat);
  wide_cosine = at::cat({cosine, cosine}, 1).unsqueeze(1).to(dtype), wide_sine = at::cat({sine, sine}, 1).unsqueeze(1).to(dtype);
}

void RotaryTable::repeat(int64_t sequences) {
  for (auto* angles : {&cosine, &sine}) *angles = angles->repeat({sequences, 1});
  for (auto* angles : {&wide_cosine, &wide_sine}) *angles = angles->repeat({sequences, 1, 1});
}

at::Tensor rotated_with_libtorch(const at::Tensor& x, const RotaryTable& table) {
  const auto halves = x.chunk(2, -1);
  return x * table.wide_cosine + at::cat({-halves[1], halves[0]}, -1) * table.wide_sine;
}

LibtorchTrainer::LibtorchTrainer(const peft::DecoderConfig& config, const RandomWeights& weights,
                                 const std::map<std::string, at::Tensor>& factors, double scale)
    : config_(config), weights_(weights), scale_(scale) {
  for (const auto& [name, factor] : factors) {
    places_[name] = leaves_.size();
    leaves_.push_back(factor.detach().clone().requires_grad_());
    first_.push_back(at::zeros_like(factor)), second_.push_back(at::zeros_like(factor));
    steps_.push_back(at::zeros({}, at::kFloat));
  }
}

at::Tensor LibtorchTrainer::linear(const std::string& name, const at::Tensor& x) const {
  const auto factor = [&](const char* part) { return leaves_[places_.at(name + part)].to(x.scalar_type()); };
  const auto down = at::linear(x, factor(".lora_A.weight"));
  return at::linear(x, weights_.tensor(name + ".weight")) + at::linear(down, factor(".lora_B.weight")) * scale_;
}

at::Tensor LibtorchTrainer::attention(const std::string& layer, const at::Tensor& x, const RotaryTable& table, int64_t sequences) const {
  const int64_t width = config_.head_size, length = x.size(0) / sequences, group = config_.heads / config_.key_value_heads;
  const auto heads = [&](const char* part, int64_t count) { return linear(layer + part, x).view({x.size(0), count, width}); };
  const auto heads_first = [&](const at::Tensor& y) { return y.view({sequences, length, y.size(1), width}).transpose(1, 2); };
  const auto q = rotated_with_libtorch(heads("self_attn.q_proj", config_.heads), table);
  const auto k = rotated_with_libtorch(heads("self_attn.k_proj", config_.key_value_heads), table);
  const auto v = heads("self_attn.v_proj", config_.key_value_heads);
  const auto out = at::scaled_dot_product_attention(heads_first(q), heads_first(k.repeat_interleave(group, 1)),
                                                    heads_first(v.repeat_interleave(group, 1)), {}, 0.0, /*is_causal=*/true);
  return linear(layer + "self_attn.o_proj", out.transpose(1, 2).reshape({x.size(0), config_.query_features()}));
}

at::Tensor LibtorchTrainer::normed(const std::string& name, const at::Tensor& x) const {
  return at::rms_norm(x, {x.size(1)}, weights_.tensor(name + ".weight").to(x.scalar_type()), config_.norm_epsilon);
}

at::Tensor LibtorchTrainer::hidden_states(const at::Tensor& ids, int64_t sequences) const {
  auto x = at::embedding(weights_.tensor("model.embed_tokens.weight"), ids);
  RotaryTable table(ids.size(0) / sequences, config_.head_size, config_.rope_theta, x.scalar_type());
  table.repeat(sequences);
  for (int64_t i = 0; i < config_.layers; ++i) {
    const auto layer = "model.layers." + std::to_string(i) + ".";
    x = x + attention(layer, normed(layer + "input_layernorm", x), table, sequences);
    const auto inner = normed(layer + "post_attention_layernorm", x);
    x = x + linear(layer + "mlp.down_proj", at::silu(linear(layer + "mlp.gate_proj", inner)) * linear(layer + "mlp.up_proj", inner));
  }
  return normed("model.norm", x);
}

void LibtorchTrainer::update(double learning_rate) {
  const at::NoGradGuard no_gradient;
  std::vector<at::Tensor> gradients;
  for (const auto& leaf : leaves_) gradients.push_back(leaf.grad());
  at::_foreach_add_(steps_, 1);
  at::_fused_adamw_(leaves_, gradients, first_, second_, {}, steps_, learning_rate, 0.9, 0.999, 0.0, 1e-8, /*amsgrad=*/false,
                    /*maximize=*/false);
  at::_foreach_zero_(gradients);
}

double LibtorchTrainer::step(const at::Tensor& ids, const at::Tensor& targets, int64_t sequences, double learning_rate) {
  const auto hidden = hidden_states(ids, sequences);
  const auto& head = weights_.tensor("model.embed_tokens.weight");
  if (chunk_ == 0) chunk_ = best_chunk(hidden.detach(), head, targets);
  const auto result = head_with_libtorch(hidden.detach(), head, targets, chunk_);
  hidden.backward(result.gradient / static_cast<double>(targets.size(0)));
  update(learning_rate);
  return result.nll.mean().item<double>();
}

}  // namespace graft::bench
