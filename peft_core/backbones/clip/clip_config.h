#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "peft_core/backbones/encoder/vision_tower.h"

namespace graft::peft {

/// Both towers of a CLIP model and the space where they meet.
struct ClipConfig {
  VisionShape vision;
  EncoderShape text;
  int64_t vocabulary = 49408;
  int64_t positions = 77;        ///< tokens of a text at most
  int64_t end_token = 49407;     ///< the text's feature is read at its first place
  int64_t joint = 512;           ///< size of the joint space
};

/// From the config.json of a Hugging Face CLIPModel. Throws InvalidArgument, naming the key, for what is missing or not supported.
ClipConfig parse_clip_config(const nlohmann::json& json, const std::string& where);

/// The config.json of a model of this shape, as transformers' CLIPModel reads it.
nlohmann::ordered_json clip_config_json(const ClipConfig& config);

}  // namespace graft::peft
