#include "peft_core/backbones/clip/clip_config.h"

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/backbones/encoder/encoder_config.h"

namespace graft::peft {

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
  config.text = parse_encoder(text, {.width = 512, .inner = 2048, .heads = 8, .layers = 12, .activation = kernels::Gelu::kQuick, .causal = true}, where + ": text_config");
  config.vision.encoder = parse_encoder(vision, {.width = 768, .inner = 3072, .heads = 12, .layers = 12, .activation = kernels::Gelu::kQuick}, where + ": vision_config");
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
