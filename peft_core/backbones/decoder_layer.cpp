#include "peft_core/backbones/decoder_layer.h"

#include <cmath>

#include "kernels/base/error.h"
#include "kernels/ops/attention_op.h"
#include "kernels/ops/rms_norm_op.h"
#include "kernels/ops/rotary_op.h"
#include "kernels/ops/swiglu_op.h"
#include "peft_core/backbones/layer_reader.h"

namespace graft::peft {
namespace {

ops::AttentionShape attention_shape(const DecoderConfig& config) {
  return {.causal = true, .window = config.sliding_window, .scale = 1.0 / std::sqrt(static_cast<double>(config.head_size))};
}

}  // namespace

at::Tensor ResidualStream::whole() const { return pending.defined() ? x + pending : x; }

SequenceCache SequenceCache::with_capacity(const DecoderConfig& config, int64_t capacity, const at::TensorOptions& options) {
  SequenceCache cache;
  for (int64_t i = 0; i < config.layers; ++i) {
    const auto make = [&] { return at::empty({capacity, config.key_value_heads, config.head_size}, options); };
    cache.layers.push_back({make(), make()});
  }
  return cache;
}

DecoderLayer::DecoderLayer(const DecoderConfig& config, int64_t index, const WeightSource& weights, const BaseStorage& storage)
    : config_(config), index_(index), prefix_("model.layers." + std::to_string(index) + ".") {
  const LayerReader read{weights, storage, prefix_};
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  q_ = read.linear("self_attn.q_proj", config.query_features(), hidden);
  k_ = read.linear("self_attn.k_proj", config.key_value_features(), hidden);
  v_ = read.linear("self_attn.v_proj", config.key_value_features(), hidden);
  o_ = read.linear("self_attn.o_proj", hidden, config.query_features());
  gate_ = read.linear("mlp.gate_proj", inner, hidden);
  up_ = read.linear("mlp.up_proj", inner, hidden);
  down_ = read.linear("mlp.down_proj", hidden, inner);
  after_attention_ = {prefix_ + "self_attn", hidden};
  after_mlp_ = {prefix_ + "mlp", hidden};
  prefix_slot_ = {config.key_value_heads, config.head_size};
  input_norm_ = read.tensor("input_layernorm.weight", {hidden});
  post_norm_ = read.tensor("post_attention_layernorm.weight", {hidden});
  if (config.query_key_norm) {
    q_norm_ = read.tensor("self_attn.q_norm.weight", {config.head_size});
    k_norm_ = read.tensor("self_attn.k_norm.weight", {config.head_size});
  }
}

void DecoderLayer::add_places(Places& places) {
  for (auto* slot : {&q_, &k_, &v_, &o_, &gate_, &up_, &down_}) {
    places.linears.push_back(slot);
    if (slot->bias().defined()) places.parameters.push_back({slot->name() + ".bias", ParameterSlot::Kind::kBias, &slot->bias()});
  }
  places.activations.push_back(&after_attention_);
  places.activations.push_back(&after_mlp_);
  places.prefixes.push_back(&prefix_slot_);
  const auto add_norm = [&](const std::string& part, at::Tensor& weight) {
    if (weight.defined()) places.parameters.push_back({prefix_ + part + ".weight", ParameterSlot::Kind::kNorm, &weight});
  };
  add_norm("input_layernorm", input_norm_);
  add_norm("self_attn.q_norm", q_norm_);
  add_norm("self_attn.k_norm", k_norm_);
  add_norm("post_attention_layernorm", post_norm_);
}

DecoderLayer::Projected DecoderLayer::project(const ResidualStream& stream, const RotaryAngles& angles,
                                              const ForwardContext& context) const {
  const auto [x, normed] = ops::add_rms_norm(stream.x, stream.pending, input_norm_, config_.norm_epsilon, 3);
  const auto heads = [&, tokens = x.size(0)](const LinearSlot& slot, const at::Tensor& input, int64_t count) {
    return slot.forward(input, context).view({tokens, count, config_.head_size});
  };
  auto q = heads(q_, normed[0], config_.heads), k = heads(k_, normed[1], config_.key_value_heads);
  const auto v = heads(v_, normed[2], config_.key_value_heads);
  if (q_norm_.defined()) {
    q = ops::rms_norm(q, q_norm_, config_.norm_epsilon);
    k = ops::rms_norm(k, k_norm_, config_.norm_epsilon);
  }
  return {x, normed[0], ops::rotary(q, angles.cosine, angles.sine), ops::rotary(k, angles.cosine, angles.sine), v};
}

at::Tensor DecoderLayer::attend(const Projected& projected, std::span<const int32_t> lengths) const {
  const auto& [x, normed, q, k, v] = projected;
  const int64_t count = prefix_slot_.count();
  if (count == 0) return ops::attention(q, k, v, lengths, attention_shape(config_));
  // Virtual keys and values stand before each sequence. The rows of q beside them are asked for nothing.
  const auto longer = lengthened(lengths, count);
  const auto no_queries = at::zeros({count, q.size(1), q.size(2)}, q.options());
  const auto attended = ops::attention(with_rows_before(q, no_queries, lengths), with_rows_before(k, prefix_slot_.keys, lengths),
                                       with_rows_before(v, prefix_slot_.values, lengths), longer, attention_shape(config_));
  return without_rows_before(attended, count, lengths);
}

ResidualStream DecoderLayer::finish(const Projected& projected, const at::Tensor& attended, std::span<const int32_t> lengths,
                                    const ForwardContext& context, std::span<SequenceCache* const> caches) const {
  std::vector<at::Tensor*> attention_states, mlp_states;
  for (auto* cache : caches) {
    auto& layer = cache->layers[static_cast<size_t>(index_)];
    attention_states.push_back(&layer.after_attention);
    mlp_states.push_back(&layer.after_mlp);
  }
  const auto mixed = o_.forward(attended.view({projected.x.size(0), config_.query_features()}), context);
  const auto output = after_attention_.forward(mixed, projected.normed, lengths, context, attention_states);
  const auto [middle, normed] = ops::add_rms_norm(projected.x, output, post_norm_, config_.norm_epsilon, 2);
  const auto inner = ops::swiglu(gate_.forward(normed[0], context), up_.forward(normed[1], context));
  return {middle, after_mlp_.forward(down_.forward(inner, context), normed[0], lengths, context, mlp_states)};
}

ResidualStream DecoderLayer::forward(const ResidualStream& stream, const RotaryAngles& angles, std::span<const int32_t> lengths,
                                     const ForwardContext& context) const {
  const auto projected = project(stream, angles, context);
  return finish(projected, attend(projected, lengths), lengths, context);
}

ResidualStream DecoderLayer::extend(const ResidualStream& stream, const RotaryAngles& angles, std::span<const int32_t> lengths,
                                    std::span<SequenceCache* const> caches, const ForwardContext& context) const {
  const auto projected = project(stream, angles, context);
  const auto& [x, normed, q, k, v] = projected;
  std::vector<at::Tensor> attended;
  int64_t start = 0;
  for (size_t s = 0; s < caches.size(); ++s) {
    auto& cache = caches[s]->layers[static_cast<size_t>(index_)];
    const int64_t count = lengths[s], before = caches[s]->length;
    GRAFT_ASSERT(before + count <= cache.keys.size(0));
    cache.keys.narrow(0, before, count).copy_(k.narrow(0, start, count));
    cache.values.narrow(0, before, count).copy_(v.narrow(0, start, count));
    attended.push_back(ops::attention_with_cache(q.narrow(0, start, count), cache.keys.narrow(0, 0, before + count),
                                                 cache.values.narrow(0, 0, before + count), attention_shape(config_)));
    start += count;
  }
  return finish(projected, attended.size() == 1 ? attended.front() : at::cat(attended), lengths, context, caches);
}

}  // namespace graft::peft
