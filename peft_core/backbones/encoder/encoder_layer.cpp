#include "peft_core/backbones/encoder/encoder_layer.h"

#include <cmath>

#include "kernels/ops/attention_op.h"
#include "kernels/ops/gelu_op.h"
#include "kernels/ops/layer_norm_op.h"

namespace graft::peft {

EncoderNames clip_encoder_names(const std::string& tower) {
  return {.layers = tower + ".encoder.layers.", .q = "self_attn.q_proj", .k = "self_attn.k_proj", .v = "self_attn.v_proj",
          .out = "self_attn.out_proj", .fc1 = "mlp.fc1", .fc2 = "mlp.fc2", .norm1 = "layer_norm1", .norm2 = "layer_norm2",
          .scale1 = "", .scale2 = ""};
}

EncoderNames vit_encoder_names(const std::string& prefix) {
  return {.layers = prefix + "encoder.layer.", .q = "attention.attention.query", .k = "attention.attention.key",
          .v = "attention.attention.value", .out = "attention.output.dense", .fc1 = "intermediate.dense", .fc2 = "output.dense",
          .norm1 = "layernorm_before", .norm2 = "layernorm_after", .scale1 = "", .scale2 = ""};
}

EncoderNames dinov2_encoder_names(const std::string& prefix) {
  return {.layers = prefix + "encoder.layer.", .q = "attention.attention.query", .k = "attention.attention.key",
          .v = "attention.attention.value", .out = "attention.output.dense", .fc1 = "mlp.fc1", .fc2 = "mlp.fc2", .norm1 = "norm1",
          .norm2 = "norm2", .scale1 = "layer_scale1.lambda1", .scale2 = "layer_scale2.lambda1"};
}

NormWeights::NormWeights(const LayerReader& read, const std::string& part, int64_t width)
    : weight(read.tensor(part + ".weight", {width})), bias(read.tensor(part + ".bias", {width})) {}

at::Tensor NormWeights::forward(const at::Tensor& x, double epsilon) const { return ops::layer_norm(x, weight, bias, epsilon); }

void NormWeights::add_places(Places& places, const std::string& name) {
  places.parameters.push_back({name + ".weight", ParameterSlot::Kind::kNorm, &weight});
  places.parameters.push_back({name + ".bias", ParameterSlot::Kind::kNormBias, &bias});
}

EncoderLayer::EncoderLayer(const EncoderShape& shape, const EncoderNames& names, int64_t index, const WeightSource& weights,
                           const BaseStorage& storage)
    : shape_(shape), names_(names), prefix_(names.layers + std::to_string(index) + ".") {
  const LayerReader read{weights, storage, prefix_};
  const int64_t width = shape.width;
  q_ = read.linear(names.q, width, width);
  k_ = read.linear(names.k, width, width);
  v_ = read.linear(names.v, width, width);
  out_ = read.linear(names.out, width, width);
  fc1_ = read.linear(names.fc1, shape.inner, width);
  fc2_ = read.linear(names.fc2, width, shape.inner);
  after_attention_ = {out_.name(), width};
  after_mlp_ = {fc2_.name(), width};
  norm1_ = {read, names.norm1, width};
  norm2_ = {read, names.norm2, width};
  if (!names.scale1.empty()) scale1_ = read.tensor(names.scale1, {width}), scale2_ = read.tensor(names.scale2, {width});
}

void EncoderLayer::add_places(Places& places) {
  for (auto* slot : {&q_, &k_, &v_, &out_, &fc1_, &fc2_}) {
    places.linears.push_back(slot);
    if (slot->bias().defined()) places.parameters.push_back({slot->name() + ".bias", ParameterSlot::Kind::kBias, &slot->bias()});
  }
  places.activations.push_back(&after_attention_);
  places.activations.push_back(&after_mlp_);
  norm1_.add_places(places, prefix_ + names_.norm1);
  norm2_.add_places(places, prefix_ + names_.norm2);
  for (auto [part, scale] : {std::pair{&names_.scale1, &scale1_}, {&names_.scale2, &scale2_}})
    if (scale->defined()) places.parameters.push_back({prefix_ + *part, ParameterSlot::Kind::kOther, scale});
}

at::Tensor EncoderLayer::attend(const at::Tensor& normed, std::span<const int32_t> lengths, const ForwardContext& context) const {
  const int64_t tokens = normed.size(0), head_size = shape_.width / shape_.heads;
  const auto heads = [&](const LinearSlot& slot) { return slot.forward(normed, context).view({tokens, shape_.heads, head_size}); };
  const ops::AttentionShape attention{.causal = shape_.causal, .window = 0, .scale = 1.0 / std::sqrt(static_cast<double>(head_size))};
  const auto attended = ops::attention(heads(q_), heads(k_), heads(v_), lengths, attention);
  return after_attention_.forward(out_.forward(attended.reshape({tokens, shape_.width}), context), normed, lengths, context);
}

at::Tensor EncoderLayer::forward(const at::Tensor& x, std::span<const int32_t> lengths, const ForwardContext& context) const {
  const auto scaled = [&](const at::Tensor& added, const at::Tensor& scale) { return scale.defined() ? added * scale.to(x.scalar_type()) : added; };
  const auto middle = x + scaled(attend(norm1_.forward(x, shape_.norm_epsilon), lengths, context), scale1_);
  const auto normed = norm2_.forward(middle, shape_.norm_epsilon);
  const auto inner = ops::gelu(fc1_.forward(normed, context), shape_.activation);
  return middle + scaled(after_mlp_.forward(fc2_.forward(inner, context), normed, lengths, context), scale2_);
}

Encoder::Encoder(const EncoderShape& shape, const EncoderNames& names, const WeightSource& weights, const BaseStorage& storage) {
  for (int64_t i = 0; i < shape.layers; ++i) layers_.push_back(std::make_unique<EncoderLayer>(shape, names, i, weights, storage));
}

at::Tensor Encoder::forward(at::Tensor x, std::span<const int32_t> lengths, const ForwardContext& context) const {
  for (const auto& layer : layers_) x = layer->forward(x, lengths, context);
  return x;
}

void Encoder::add_places(Places& places) {
  for (auto& layer : layers_) layer->add_places(places);
}

}  // namespace graft::peft
