#include "peft_core/backbones/vit/vit_model.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/backbones/encoder/encoder_config.h"

namespace graft::peft {
namespace {

VisionNames names_of(const VitConfig& config) { return config.dinov2 ? dinov2_names(config.prefix) : vit_names(config.prefix); }

/// id2label, or LABEL_0, LABEL_1, ... for the two labels that transformers takes for granted.
std::vector<std::string> classes_of(const nlohmann::json& json, const std::string& where) {
  const auto labels = json.value("id2label", nlohmann::json{{"0", "LABEL_0"}, {"1", "LABEL_1"}});
  std::vector<std::string> classes;
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto found = labels.find(std::to_string(i));
    if (found == labels.end() || !found->is_string())
      throw InvalidArgument({.where = where + ": id2label", .what = "lacks the number " + std::to_string(i), .expected = "0.." + std::to_string(labels.size() - 1)});
    classes.push_back(found->get<std::string>());
  }
  return classes;
}

}  // namespace

VitConfig parse_vit_config(const nlohmann::json& json, const std::string& where) {
  const auto type = json.value("model_type", "");
  if (type != "vit" && type != "dinov2")
    throw InvalidArgument({.where = where, .what = "describes no plain vision transformer", .expected = "model_type vit or dinov2", .got = type.empty() ? "none" : type});
  VitConfig config;
  config.dinov2 = type == "dinov2";
  EncoderShape defaults{.width = 768, .inner = 3072, .heads = 12, .layers = 12, .norm_epsilon = config.dinov2 ? 1e-6 : 1e-12};
  if (config.dinov2) defaults.inner = json.value("hidden_size", defaults.width) * json.value("mlp_ratio", int64_t{4});
  config.vision.encoder = parse_encoder(json, defaults, where);
  if (config.dinov2 && json.value("use_swiglu_ffn", false))
    throw InvalidArgument({.where = where + ": use_swiglu_ffn", .what = "is not supported", .expected = "false (DINOv2 small, base and large)", .got = "true"});
  config.vision.image_size = json.value("image_size", 224);
  config.vision.patch_size = json.value("patch_size", config.dinov2 ? 14 : 16);
  config.vision.channels = json.value("num_channels", 3);
  if (config.vision.patch_size < 1 || config.vision.image_size < config.vision.patch_size)
    throw InvalidArgument({.where = where + ": patch_size", .what = "does not fit image_size", .got = std::to_string(config.vision.patch_size)});
  const auto kinds = json.value("architectures", std::vector<std::string>{});
  const bool classifies = !kinds.empty() && kinds.front().ends_with("ForImageClassification");
  if (!kinds.empty() && !classifies && !kinds.front().ends_with("Model"))
    throw InvalidArgument({.where = where + ": architectures", .what = "is not supported", .expected = "...Model or ...ForImageClassification", .got = kinds.front()});
  if (classifies) config.prefix = type + ".", config.classes = classes_of(json, where);
  return config;
}

VitModel::VitModel(VitConfig config, const WeightSource& weights, const BaseStorage& storage)
    : config_(std::move(config)), vision_(config_.vision, names_of(config_), weights, storage) {
  vision_.add_places(places_);
  if (config_.classes.empty()) return;
  const LayerReader read{weights, storage, ""};
  const int64_t width = config_.vision.encoder.width;
  classifier_ = read.linear("classifier", static_cast<int64_t>(config_.classes.size()), config_.dinov2 ? 2 * width : width);
  places_.linears.push_back(&classifier_);
  if (classifier_.bias().defined()) places_.parameters.push_back({"classifier.bias", ParameterSlot::Kind::kBias, &classifier_.bias()});
}

at::Tensor VitModel::features(const at::Tensor& images, const ForwardContext& context, const at::Tensor& prompt) const {
  return vision_.last_norm(vision_.forward(images, context, prompt).select(1, 0)).to(at::kFloat);
}

at::Tensor VitModel::logits(const at::Tensor& images, const ForwardContext& context, const at::Tensor& prompt) const {
  if (config_.classes.empty())
    throw InvalidArgument({.where = "model", .what = "has no classifier", .expected = "the folder of a ...ForImageClassification"});
  const auto tokens = vision_.forward(images, context, prompt);
  auto seen = vision_.last_norm(tokens.select(1, 0));
  if (config_.dinov2) seen = at::cat({seen, vision_.last_norm(tokens.slice(1, 1)).mean(1)}, 1);
  return classifier_.forward(seen, context).to(at::kFloat);
}

}  // namespace graft::peft
