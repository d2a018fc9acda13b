#include "tests/pipelines/cloud/tiny_clip.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <numbers>

#include "data_loaders/cloud/sampling.h"
#include "peft_core/base/rng.h"

namespace graft::testing {
namespace {

class TinyClipWeights final : public peft::WeightSource {
 public:
  explicit TinyClipWeights(const peft::ClipConfig& config) {
    const int64_t width = config.vision.encoder.width, side = config.vision.image_size / config.vision.patch_size;
    tower("vision_model", config.vision.encoder);
    tower("text_model", config.text);
    add("vision_model.embeddings.class_embedding", {width});
    add("vision_model.embeddings.patch_embedding.weight", {width, 3, config.vision.patch_size, config.vision.patch_size});
    // Mostly blind to a patch's brightness: the white background, equal in all pictures, would outweigh what differs between them.
    auto& patch = tensors_["vision_model.embeddings.patch_embedding.weight"];
    patch = 4 * (patch - 0.9 * patch.mean({1, 2, 3}, /*keepdim=*/true));
    add("vision_model.embeddings.position_embedding.weight", {side * side + 1, width});
    norm("vision_model.pre_layrnorm", width), norm("vision_model.post_layernorm", width);
    norm("text_model.final_layer_norm", config.text.width);
    add("text_model.embeddings.token_embedding.weight", {config.vocabulary, config.text.width});
    add("text_model.embeddings.position_embedding.weight", {config.positions, config.text.width});
    add("visual_projection.weight", {config.joint, width});
    add("text_projection.weight", {config.joint, config.text.width});
    tensors_["logit_scale"] = at::full({}, 3.0);
  }
  bool has(const std::string& name) const override { return tensors_.contains(name); }
  std::vector<int64_t> shape(const std::string& name) const override { return small(name).sizes().vec(); }
  at::Tensor small(const std::string& name) const override { return tensors_.at(name).clone(); }
  std::shared_ptr<peft::FrozenLinear> matrix(const std::string& name, const peft::BaseStorage&, bool) const override {
    return peft::dense_linear(small(name));
  }

 private:
  void add(const std::string& name, at::IntArrayRef sizes) {
    auto random = at::make_generator<at::CPUGeneratorImpl>(stream_seed(1, name));
    tensors_[name] = at::randn(sizes, random, at::TensorOptions().dtype(at::kFloat)) * 0.2;
  }
  void norm(const std::string& name, int64_t width) {
    add(name + ".weight", {width}), add(name + ".bias", {width});
    tensors_[name + ".weight"].add_(1);
  }
  void linear(const std::string& name, int64_t out, int64_t in) { add(name + ".weight", {out, in}), add(name + ".bias", {out}); }
  void tower(const std::string& name, const peft::EncoderShape& shape) {
    for (int64_t i = 0; i < shape.layers; ++i) {
      const auto layer = name + ".encoder.layers." + std::to_string(i) + ".";
      for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"}) linear(layer + "self_attn." + part, shape.width, shape.width);
      linear(layer + "mlp.fc1", shape.inner, shape.width), linear(layer + "mlp.fc2", shape.width, shape.inner);
      norm(layer + "layer_norm1", shape.width), norm(layer + "layer_norm2", shape.width);
    }
  }

  std::map<std::string, at::Tensor> tensors_;
};

/// A point on the surface of one of the three shapes.
std::array<double, 3> surface_point(int64_t shape, RandomStream& draw) {
  const double angle = 2 * std::numbers::pi * draw.uniform(), height = 2 * draw.uniform() - 1;
  if (shape == 1) return {2 * draw.uniform() - 1, 0.05 * draw.uniform(), height};
  const double radius = shape == 0 ? std::sqrt(1 - height * height) : 0.1;
  return {radius * std::cos(angle), radius * std::sin(angle), height};
}

}  // namespace

peft::ClipConfig tiny_clip_config() {
  peft::ClipConfig config;
  config.vision = {.encoder = {.width = 32, .inner = 48, .heads = 2, .layers = 2}, .image_size = 32, .patch_size = 8};
  config.text = {.width = 24, .inner = 40, .heads = 2, .layers = 2, .causal = true};
  config.vocabulary = 64, config.positions = 60, config.end_token = 63, config.joint = 20;
  return config;
}

std::unique_ptr<peft::ClipModel> tiny_clip() {
  const auto config = tiny_clip_config();
  return std::make_unique<peft::ClipModel>(config, TinyClipWeights(config), peft::BaseStorage{});
}

pipelines::TextEncoder letter_encoder() {
  const auto encode = [](const std::string& text) {
    std::vector<int32_t> ids;
    for (const char letter : text) ids.push_back(static_cast<unsigned char>(letter) % 60);
    return ids;
  };
  return {.encode = encode, .start = 62, .end = 63};
}

pipelines::CloudSet shape_clouds(int64_t each, uint64_t seed, double noise) {
  pipelines::CloudSet set;
  set.classes = {"ball", "board", "pole"};
  for (int64_t i = 0; i < 3 * each; ++i) {
    RandomStream draw(seed, "shape", static_cast<uint64_t>(i));
    data::PointCloud cloud;
    cloud.source = "shape" + std::to_string(i);
    for (int64_t p = 0; p < 150; ++p)
      for (const double x : surface_point(i % 3, draw)) cloud.points.push_back(static_cast<float>(x + noise * (draw.uniform() - 0.5)));
    set.clouds.push_back(data::unit_sphere(cloud));
    set.labels.push_back(i % 3);
  }
  return set;
}

}  // namespace graft::testing
