#include "peft_core/backbones/clip/clip_config.h"

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

kernels::Gelu activation_of(const std::string& name, const std::string& where) {
  if (name == "quick_gelu") return kernels::Gelu::kQuick;
  if (name == "gelu") return kernels::Gelu::kExact;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return kernels::Gelu::kTanh;
  throw InvalidArgument({.where = where + ": hidden_act", .what = "is not supported", .expected = "quick_gelu, gelu or gelu_pytorch_tanh", .got = name});
}

std::string name_of(kernels::Gelu activation) {
  return activation == kernels::Gelu::kQuick ? "quick_gelu" : activation == kernels::Gelu::kExact ? "gelu" : "gelu_pytorch_tanh";
}

/// The defaults are those of transformers' CLIPTextConfig and CLIPVisionConfig: a config.json leaves them out.
EncoderShape encoder_of(const nlohmann::json& json, EncoderShape shape, const std::string& where) {
  shape.width = json.value("hidden_size", shape.width);
  shape.inner = json.value("intermediate_size", shape.inner);
  shape.heads = json.value("num_attention_heads", shape.heads);
  shape.layers = json.value("num_hidden_layers", shape.layers);
  shape.norm_epsilon = json.value("layer_norm_eps", 1e-5);
  shape.activation = activation_of(json.value("hidden_act", "quick_gelu"), where);
  if (shape.heads < 1 || shape.width < 1 || shape.inner < 1 || shape.layers < 1 || shape.width % shape.heads != 0)
    throw InvalidArgument({.where = where, .what = "sizes are impossible", .expected = "hidden_size a multiple of num_attention_heads",
                           .got = std::to_string(shape.width) + " and " + std::to_string(shape.heads)});
  return shape;
}

nlohmann::ordered_json encoder_json(const EncoderShape& shape) {
  return {{"hidden_size", shape.width},         {"intermediate_size", shape.inner},       {"num_hidden_layers", shape.layers},
          {"num_attention_heads", shape.heads}, {"layer_norm_eps", shape.norm_epsilon}, {"hidden_act", name_of(shape.activation)}};
}

}  // namespace

ClipConfig parse_clip_config(const nlohmann::json& json, const std::string& where) {
  const auto type = json.value("model_type", "");
  if (type != "clip")
    throw InvalidArgument({.where = where, .what = "describes no CLIP model", .expected = "model_type clip", .got = type.empty() ? "none" : type});
  const auto part = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_object() ? *found : nlohmann::json::object();
  };
  const auto text = part("text_config"), vision = part("vision_config");
  ClipConfig config;
  config.text = encoder_of(text, {.width = 512, .inner = 2048, .heads = 8, .layers = 12, .causal = true}, where + ": text_config");
  config.vision.encoder = encoder_of(vision, {.width = 768, .inner = 3072, .heads = 12, .layers = 12}, where + ": vision_config");
  config.vision.image_size = vision.value("image_size", 224);
  config.vision.patch_size = vision.value("patch_size", 32);
  config.vision.channels = vision.value("num_channels", 3);
  config.vocabulary = text.value("vocab_size", 49408);
  config.positions = text.value("max_position_embeddings", 77);
  config.end_token = text.value("eos_token_id", 49407);
  // Configs written before the token was named say 2, which is no end of CLIP's texts; there the largest id is the end, and that is the last.
  if (config.end_token == 2) config.end_token = config.vocabulary - 1;
  config.joint = json.value("projection_dim", 512);
  if (config.vision.patch_size < 1 || config.vision.image_size % config.vision.patch_size != 0)
    throw InvalidArgument({.where = where + ": vision_config.image_size", .what = "is no multiple of patch_size",
                           .got = std::to_string(config.vision.image_size) + " and " + std::to_string(config.vision.patch_size)});
  return config;
}

nlohmann::ordered_json clip_config_json(const ClipConfig& config) {
  auto text = encoder_json(config.text), vision = encoder_json(config.vision.encoder);
  text.update({{"vocab_size", config.vocabulary}, {"max_position_embeddings", config.positions}, {"eos_token_id", config.end_token},
               {"bos_token_id", config.end_token - 1}, {"pad_token_id", config.end_token}, {"model_type", "clip_text_model"},
               {"projection_dim", config.joint}});
  vision.update({{"image_size", config.vision.image_size}, {"patch_size", config.vision.patch_size}, {"num_channels", config.vision.channels},
                 {"model_type", "clip_vision_model"}, {"projection_dim", config.joint}});
  return {{"architectures", {"CLIPModel"}}, {"model_type", "clip"}, {"projection_dim", config.joint}, {"text_config", text},
          {"vision_config", vision},        {"torch_dtype", "float32"}};
}

}  // namespace graft::peft
