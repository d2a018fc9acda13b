#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "peft_core/backbones/encoder/encoder_layer.h"

namespace graft::peft {

/// The encoder's sizes from the keys that all of transformers' encoders share. A config.json may leave out what is its model's default, so
/// these come as `defaults`. Throws InvalidArgument, naming the key, for impossible sizes and unsupported activations.
EncoderShape parse_encoder(const nlohmann::json& json, const EncoderShape& defaults, const std::string& where);

/// The same keys again.
nlohmann::ordered_json encoder_json(const EncoderShape& shape);

}  // namespace graft::peft
