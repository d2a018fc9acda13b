#pragma once

#include <string>

#include "peft_core/backbones/encoder/encoder_layer.h"

namespace graft::peft {

/// A vision transformer's sizes.
struct VisionShape {
  EncoderShape encoder;
  int64_t image_size = 224;  ///< at which its position embeddings were trained
  int64_t patch_size = 16;
  int64_t channels = 3;
};

/// What the parts around the encoder are called; an empty name: there is no such part.
struct VisionNames {
  EncoderNames encoder;
  std::string class_token, patch, position, norm_before, norm_after;
};

VisionNames clip_vision_names();
VisionNames vit_names(const std::string& prefix);
VisionNames dinov2_names(const std::string& prefix);

/// Patches and a class token through an encoder: CLIP's image tower, ViT, DINOv2.
///
/// Axes     B images, C width, T tokens of an image: the class token, then the patches row by row.
/// Throws   InvalidArgument for images whose sides are no multiple of the patch size, and for shapes that disagree with the config.
class VisionTower {
 public:
  VisionTower(const VisionShape& shape, const VisionNames& names, const WeightSource& weights, const BaseStorage& storage);

  /// images (B, 3, H, W) fp32, prepared as the model wants them -> (B, T, C), before the last norm.
  /// `prompt` (P, C) or (B, P, C) stands in place of the first P patches; undefined: none.
  at::Tensor forward(const at::Tensor& images, const ForwardContext& context, const at::Tensor& prompt = {}) const;
  /// (B, T, C) -> normed (B, T, C).
  at::Tensor last_norm(const at::Tensor& tokens) const { return norm_after_.forward(tokens, shape_.encoder.norm_epsilon); }
  const VisionShape& shape() const { return shape_; }
  void add_places(Places& places);

 private:
  at::Tensor patches(const at::Tensor& images) const;
  at::Tensor positions(int64_t rows, int64_t columns) const;

  VisionShape shape_;
  VisionNames names_;
  at::ScalarType compute_;
  at::Tensor class_token_, patch_weight_, patch_bias_, position_;  // fp32
  NormWeights norm_before_, norm_after_;
  Encoder encoder_;
};

}  // namespace graft::peft
