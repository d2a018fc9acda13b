#include "peft_core/backbones/encoder/vision_tower.h"

#include <ATen/ATen.h>

#include "kernels/base/error.h"
#include "kernels/ops/dense_products.h"
#include "peft_core/backbones/encoder/token_rows.h"

namespace graft::peft {

VisionNames clip_vision_names() {
  const std::string at = "vision_model.embeddings.";
  return {.encoder = clip_encoder_names("vision_model"), .class_token = at + "class_embedding", .patch = at + "patch_embedding",
          .position = at + "position_embedding.weight",
          .norm_before = "vision_model.pre_layrnorm",  // Hugging Face's spelling
          .norm_after = "vision_model.post_layernorm"};
}

VisionNames vit_names(const std::string& prefix) {
  const auto at = prefix + "embeddings.";
  return {.encoder = vit_encoder_names(prefix), .class_token = at + "cls_token", .patch = at + "patch_embeddings.projection",
          .position = at + "position_embeddings", .norm_before = "", .norm_after = prefix + "layernorm"};
}

VisionNames dinov2_names(const std::string& prefix) {
  auto names = vit_names(prefix);
  names.encoder = dinov2_encoder_names(prefix);
  return names;
}

VisionTower::VisionTower(const VisionShape& shape, const VisionNames& names, const WeightSource& weights, const BaseStorage& storage)
    : shape_(shape), names_(names), compute_(storage.compute), encoder_(shape.encoder, names.encoder, weights, storage) {
  const LayerReader read{weights, storage, ""};
  const int64_t width = shape.encoder.width, side = shape.image_size / shape.patch_size;
  class_token_ = weights.small(names.class_token);
  position_ = weights.small(names.position);
  if (class_token_.numel() != width || position_.numel() != (side * side + 1) * width)
    throw InvalidArgument({.where = names.position, .what = "has another size than the model's config says",
                           .expected = std::to_string(side * side + 1) + " x " + std::to_string(width) + " numbers",
                           .got = std::to_string(position_.numel()) + " numbers"});
  patch_weight_ = read.tensor(names.patch + ".weight", {width, shape.channels, shape.patch_size, shape.patch_size});
  if (weights.has(names.patch + ".bias")) patch_bias_ = read.tensor(names.patch + ".bias", {width});
  if (!names.norm_before.empty()) norm_before_ = {read, names.norm_before, width};
  norm_after_ = {read, names.norm_after, width};
}

at::Tensor VisionTower::patches(const at::Tensor& images) const {
  const int64_t p = shape_.patch_size, batch = images.size(0), rows = images.size(2) / p, columns = images.size(3) / p;
  if (images.dim() != 4 || images.size(1) != shape_.channels || images.size(2) % p != 0 || images.size(3) % p != 0 || rows * columns == 0)
    throw InvalidArgument({.where = "images", .what = "do not fit the model",
                           .expected = "(B, " + std::to_string(shape_.channels) + ", H, W), H and W multiples of " + std::to_string(p),
                           .got = c10::str(images.sizes())});
  const auto cut = images.reshape({batch, shape_.channels, rows, p, columns, p}).permute({0, 2, 4, 1, 3, 5}).reshape({batch, rows * columns, -1});
  return ops::linear(cut, patch_weight_.flatten(1), patch_bias_);
}

/// As trained, or stretched over another number of patches, as DINOv2 and transformers' ViT do.
at::Tensor VisionTower::positions(int64_t rows, int64_t columns) const {
  const int64_t width = shape_.encoder.width, side = shape_.image_size / shape_.patch_size;
  const auto all = position_.reshape({side * side + 1, width});
  if (rows == side && columns == side) return all;
  const auto grid = all.narrow(0, 1, side * side).reshape({1, side, side, width}).permute({0, 3, 1, 2});
  const auto stretched = at::upsample_bicubic2d(grid, {rows, columns}, /*align_corners=*/false);
  return at::cat({all.narrow(0, 0, 1), stretched.permute({0, 2, 3, 1}).reshape({rows * columns, width})});
}

at::Tensor VisionTower::forward(const at::Tensor& images, const ForwardContext& context, const at::Tensor& prompt) const {
  const int64_t batch = images.size(0), width = shape_.encoder.width;
  const auto embedded = patches(images);
  const int64_t tokens = embedded.size(1) + 1;
  const std::vector<int32_t> lengths(static_cast<size_t>(batch), static_cast<int32_t>(tokens));
  auto x = at::cat({class_token_.reshape({1, 1, width}).expand({batch, 1, width}), embedded}, 1).reshape({batch * tokens, width});
  x = with_rows_replaced(x, prompt, 1, lengths).view({batch, tokens, width}) +
      positions(images.size(2) / shape_.patch_size, images.size(3) / shape_.patch_size);
  x = x.view({batch * tokens, width}).to(compute_);
  if (norm_before_.weight.defined()) x = norm_before_.forward(x, shape_.encoder.norm_epsilon);
  return encoder_.forward(x, lengths, context).view({batch, tokens, width});
}

void VisionTower::add_places(Places& places) {
  const auto embedding = [&](const std::string& name, at::Tensor& tensor) {
    if (tensor.defined()) places.parameters.push_back({name, ParameterSlot::Kind::kEmbedding, &tensor});
  };
  embedding(names_.class_token, class_token_);
  embedding(names_.patch + ".weight", patch_weight_);
  embedding(names_.position, position_);
  if (patch_bias_.defined()) places.parameters.push_back({names_.patch + ".bias", ParameterSlot::Kind::kBias, &patch_bias_});
  if (norm_before_.weight.defined()) norm_before_.add_places(places, names_.norm_before);
  encoder_.add_places(places);
  norm_after_.add_places(places, names_.norm_after);
}

}  // namespace graft::peft
