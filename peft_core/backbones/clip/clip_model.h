#pragma once

#include <span>
#include <vector>

#include "peft_core/backbones/clip/clip_config.h"

namespace graft::peft {

/// Texts as token ids, start and end tokens included; never padded.
using TextIds = std::vector<std::vector<int32_t>>;

/// CLIP: an image tower and a text tower that meet in one space. Knows nothing of adaptation methods: they change its places.
///
/// Axes     B images, K texts, C width of a tower, J size of the joint space.
/// Throws   IoError for missing tensors, InvalidArgument for shapes that disagree with the config.
class ClipModel {
 public:
  ClipModel(ClipConfig config, const WeightSource& weights, const BaseStorage& storage);
  ClipModel(const ClipModel&) = delete;
  ClipModel& operator=(const ClipModel&) = delete;

  const ClipConfig& config() const { return config_; }
  const BaseStorage& storage() const { return storage_; }
  Places& places() { return places_; }
  const Places& places() const { return places_; }

  /// images (B, 3, H, W) fp32 -> (B, J) fp32, not yet of unit length. `prompt` as in VisionTower.
  at::Tensor image_features(const at::Tensor& images, const ForwardContext& context, const at::Tensor& prompt = {}) const;
  /// texts -> (K, J) fp32, not yet of unit length. `prompt` (P, C) stands in place of the P tokens after the start token.
  at::Tensor text_features(const TextIds& texts, const ForwardContext& context, const at::Tensor& prompt = {}) const;
  /// What cosines are multiplied with, a scalar: exp(logit_scale).
  at::Tensor scale() const { return logit_scale_.exp(); }
  /// Rows of the token embedding, ids (N) int64 -> (N, C) fp32.
  at::Tensor embed(const at::Tensor& ids) const;
  const VisionTower& vision() const { return vision_; }

 private:
  ClipConfig config_;
  BaseStorage storage_;
  VisionTower vision_;
  at::Tensor token_embedding_, text_positions_, logit_scale_;  // fp32
  Encoder text_;
  NormWeights text_norm_;
  LinearSlot text_projection_, visual_projection_;
  Places places_;
};

/// Rows of x (N, J) in unit length.
at::Tensor unit_rows(const at::Tensor& x);

}  // namespace graft::peft
