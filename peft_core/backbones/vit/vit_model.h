#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "peft_core/backbones/encoder/vision_tower.h"

namespace graft::peft {

/// A plain vision transformer: transformers' ViT or DINOv2, with or without a classifier on top.
struct VitConfig {
  VisionShape vision;
  bool dinov2 = false;      ///< layer scales; its classifier sees the class token and the mean of the patches side by side
  std::string prefix;       ///< of the encoder's tensors: "vit.", "dinov2.", or nothing for a model without a head
  std::vector<std::string> classes;  ///< names by number; empty without a classifier
};

/// From the config.json of ViTModel, ViTForImageClassification, Dinov2Model or Dinov2ForImageClassification. Throws InvalidArgument, naming the
/// key, for what is missing or not supported.
VitConfig parse_vit_config(const nlohmann::json& json, const std::string& where);

/// Knows nothing of adaptation methods: they change its places.
///
/// Axes     B images, C width, K classes.
/// Throws   IoError for missing tensors, InvalidArgument for shapes that disagree with the config.
class VitModel {
 public:
  VitModel(VitConfig config, const WeightSource& weights, const BaseStorage& storage);
  VitModel(const VitModel&) = delete;
  VitModel& operator=(const VitModel&) = delete;

  const VitConfig& config() const { return config_; }
  Places& places() { return places_; }

  /// images (B, 3, H, W) fp32, prepared as the model wants them -> (B, C) fp32: the normed class token. `prompt` as in VisionTower.
  at::Tensor features(const at::Tensor& images, const ForwardContext& context, const at::Tensor& prompt = {}) const;
  /// The same images -> (B, K) fp32. Throws InvalidArgument if the model has no classifier.
  at::Tensor logits(const at::Tensor& images, const ForwardContext& context, const at::Tensor& prompt = {}) const;

 private:
  VitConfig config_;
  VisionTower vision_;
  LinearSlot classifier_;
  Places places_;
};

}  // namespace graft::peft
