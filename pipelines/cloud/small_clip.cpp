#include "pipelines/cloud/small_clip.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/rng.h"
#include "peft_core/checkpoint/tensor_bytes.h"

namespace graft::pipelines {
namespace {

at::Tensor activated(const at::Tensor& x, kernels::Gelu activation) {
  if (activation == kernels::Gelu::kQuick) return x * at::sigmoid(1.702 * x);
  return at::gelu(x, activation == kernels::Gelu::kTanh ? "tanh" : "none");
}

/// Texts side by side, (K, T) filled up with the end token: what stands behind it, no earlier place sees.
struct PaddedTexts {
  at::Tensor ids, ends;  ///< (K, T), (K)
};

PaddedTexts padded(const peft::TextIds& texts, const peft::ClipConfig& config) {
  size_t longest = 0;
  for (const auto& text : texts) longest = std::max(longest, text.size());
  if (texts.empty() || static_cast<int64_t>(longest) > config.positions)
    throw InvalidArgument({.where = "texts", .what = "do not fit the model", .expected = "up to " + std::to_string(config.positions) + " tokens",
                           .got = std::to_string(longest)});
  std::vector<int64_t> ids, ends;
  for (const auto& text : texts) {
    ids.insert(ids.end(), text.begin(), text.end());
    ids.insert(ids.end(), longest - text.size(), config.end_token);
    ends.push_back(std::find(text.begin(), text.end(), config.end_token) - text.begin());
  }
  return {at::tensor(ids, at::kLong).view({std::ssize(texts), static_cast<int64_t>(longest)}), at::tensor(ends, at::kLong)};
}

/// What transformers' image processor needs to leave a depth picture as it is, but for its size.
nlohmann::ordered_json preprocessor_json(int64_t side) {
  return {{"image_processor_type", "CLIPImageProcessor"}, {"do_resize", true},    {"size", {{"shortest_edge", side}}},
          {"do_center_crop", true},                       {"crop_size", {{"height", side}, {"width", side}}},
          {"do_rescale", true},                           {"rescale_factor", 1.0 / 255}, {"do_normalize", false},
          {"do_convert_rgb", true},                       {"resample", 2},        {"image_mean", {0.0, 0.0, 0.0}},
          {"image_std", {1.0, 1.0, 1.0}}};
}

}  // namespace

void SmallClip::start(const std::string& name, std::vector<int64_t> shape, double deviation, uint64_t seed) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(stream_seed(seed, name));
  parameters_[name] = (at::randn(shape, generator) * deviation).requires_grad_();
}

void SmallClip::start_constant(const std::string& name, std::vector<int64_t> shape, double value) {
  parameters_[name] = at::full(shape, value).requires_grad_();
}

void SmallClip::start_tower(const std::string& tower, const peft::EncoderShape& shape, uint64_t seed) {
  const double width = static_cast<double>(shape.width), depth = static_cast<double>(shape.layers);
  const double into = 1 / std::sqrt(width), out_of = into / std::sqrt(2 * depth);
  const auto norm = [&](const std::string& name) { start_constant(name + ".weight", {shape.width}, 1), start_constant(name + ".bias", {shape.width}, 0); };
  for (int64_t i = 0; i < shape.layers; ++i) {
    const auto layer = tower + ".encoder.layers." + std::to_string(i) + ".";
    const auto linear = [&](const std::string& name, int64_t out, int64_t in, double deviation) {
      start(layer + name + ".weight", {out, in}, deviation, seed), start_constant(layer + name + ".bias", {out}, 0);
    };
    for (const auto* part : {"q", "k", "v"}) linear(std::string("self_attn.") + part + "_proj", shape.width, shape.width, into);
    linear("self_attn.out_proj", shape.width, shape.width, out_of);
    linear("mlp.fc1", shape.inner, shape.width, 1 / std::sqrt(2 * width));
    linear("mlp.fc2", shape.width, shape.inner, out_of);
    norm(layer + "layer_norm1"), norm(layer + "layer_norm2");
  }
}

SmallClip::SmallClip(peft::ClipConfig config, uint64_t seed) : config_(std::move(config)) {
  const auto& vision = config_.vision;
  const int64_t width = vision.encoder.width, text_width = config_.text.width, side = vision.image_size / vision.patch_size;
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  const std::string image = "vision_model.", text = "text_model.";
  start(image + "embeddings.class_embedding", {width}, scale, seed);
  start(image + "embeddings.patch_embedding.weight", {width, vision.channels, vision.patch_size, vision.patch_size}, 0.02, seed);
  start(image + "embeddings.position_embedding.weight", {side * side + 1, width}, scale, seed);
  start(text + "embeddings.token_embedding.weight", {config_.vocabulary, text_width}, 0.02, seed);
  start(text + "embeddings.position_embedding.weight", {config_.positions, text_width}, 0.01, seed);
  start_tower("vision_model", vision.encoder, seed);
  start_tower("text_model", config_.text, seed);
  for (const auto& [name, size] : {std::pair{image + "pre_layrnorm", width}, {image + "post_layernorm", width}, {text + "final_layer_norm", text_width}})
    start_constant(name + ".weight", {size}, 1), start_constant(name + ".bias", {size}, 0);
  start("visual_projection.weight", {config_.joint, width}, scale, seed);
  start("text_projection.weight", {config_.joint, text_width}, 1 / std::sqrt(static_cast<double>(text_width)), seed);
  start_constant("logit_scale", {}, std::log(1 / 0.07));
}

int64_t SmallClip::parameter_count(const std::string& prefix) const {
  int64_t count = 0;
  for (const auto& [name, tensor] : parameters_) count += name.starts_with(prefix) ? tensor.numel() : 0;
  return count;
}

at::Tensor SmallClip::linear(const at::Tensor& x, const std::string& name) const {
  return at::linear(x, parameter(name + ".weight"), parameter(name + ".bias"));
}

at::Tensor SmallClip::norm(const at::Tensor& x, const std::string& name, double epsilon) const {
  return at::layer_norm(x, {x.size(-1)}, parameter(name + ".weight"), parameter(name + ".bias"), epsilon);
}

at::Tensor SmallClip::encoder(at::Tensor x, const std::string& tower, const peft::EncoderShape& shape) const {
  const int64_t batch = x.size(0), tokens = x.size(1), head_size = shape.width / shape.heads;
  for (int64_t i = 0; i < shape.layers; ++i) {
    const auto layer = tower + ".encoder.layers." + std::to_string(i) + ".";
    const auto normed = norm(x, layer + "layer_norm1", shape.norm_epsilon);
    const auto heads = [&](const char* part) {
      return linear(normed, layer + "self_attn." + part).view({batch, tokens, shape.heads, head_size}).transpose(1, 2);
    };
    const auto seen = at::scaled_dot_product_attention(heads("q_proj"), heads("k_proj"), heads("v_proj"), {}, 0.0, shape.causal);
    x = x + linear(seen.transpose(1, 2).reshape({batch, tokens, shape.width}), layer + "self_attn.out_proj");
    const auto inner = linear(norm(x, layer + "layer_norm2", shape.norm_epsilon), layer + "mlp.fc1");
    x = x + linear(activated(inner, shape.activation), layer + "mlp.fc2");
  }
  return x;
}

at::Tensor SmallClip::image_features(const at::Tensor& images) const {
  const auto& shape = config_.vision;
  const int64_t batch = images.size(0), p = shape.patch_size, side = shape.image_size / p, width = shape.encoder.width;
  if (images.dim() != 4 || images.size(1) != shape.channels || images.size(2) != shape.image_size || images.size(3) != shape.image_size)
    throw InvalidArgument({.where = "images", .what = "do not fit the model", .got = c10::str(images.sizes())});
  const auto cut = images.reshape({batch, shape.channels, side, p, side, p}).permute({0, 2, 4, 1, 3, 5}).reshape({batch, side * side, -1});
  const auto patches = at::linear(cut, parameter("vision_model.embeddings.patch_embedding.weight").flatten(1));
  const auto first = parameter("vision_model.embeddings.class_embedding").view({1, 1, width}).expand({batch, 1, width});
  auto x = at::cat({first, patches}, 1) + parameter("vision_model.embeddings.position_embedding.weight");
  x = encoder(norm(x, "vision_model.pre_layrnorm", shape.encoder.norm_epsilon), "vision_model", shape.encoder);
  return at::linear(norm(x.select(1, 0), "vision_model.post_layernorm", shape.encoder.norm_epsilon), parameter("visual_projection.weight"));
}

at::Tensor SmallClip::text_features(const peft::TextIds& texts) const {
  const auto [ids, ends] = padded(texts, config_);
  const auto places = parameter("text_model.embeddings.position_embedding.weight").narrow(0, 0, ids.size(1));
  const auto x = encoder(at::embedding(parameter("text_model.embeddings.token_embedding.weight"), ids) + places, "text_model", config_.text);
  const auto last = x.index({at::arange(ids.size(0), at::kLong), ends});
  return at::linear(norm(last, "text_model.final_layer_norm", config_.text.norm_epsilon), parameter("text_projection.weight"));
}

void SmallClip::limit_scale() {
  const at::NoGradGuard no_gradient;
  parameters_.at("logit_scale").clamp_max_(std::log(100.0));
}

void SmallClip::write(const std::filesystem::path& folder) const {
  std::filesystem::create_directories(folder);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : parameters_) tensors[name] = tensor.detach();
  peft::write_tensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  write_file_atomically(folder / "preprocessor_config.json", preprocessor_json(config_.vision.image_size).dump(2) + "\n");
  write_file_atomically(folder / "config.json", peft::clip_config_json(config_).dump(2) + "\n");
}

at::Tensor many_positives_loss(const at::Tensor& logits, const at::Tensor& fits) {
  const auto of_images = -(at::log_softmax(logits, 1) * fits / fits.sum(1, /*keepdim=*/true)).sum();
  const auto of_texts = -(at::log_softmax(logits, 0) * fits / fits.sum(0, /*keepdim=*/true)).sum();
  return (of_images + of_texts) / 2;
}

}  // namespace graft::pipelines
