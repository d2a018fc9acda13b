#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data_loaders/text/tokenizer.h"
#include "peft_core/backbones/clip/clip_model.h"
#include "pipelines/cloud/adaptation_config.h"

namespace graft::pipelines {

/// How a CLIP model wants its texts.
struct TextEncoder {
  std::function<std::vector<int32_t>(const std::string&)> encode;  ///< without start and end token
  int32_t start = 0, end = 0;
};

/// Throws InvalidArgument for a tokenizer that knows no start token. The tokenizer outlives what is returned.
TextEncoder text_encoder(const data::Tokenizer& tokenizer, const peft::ClipConfig& config);

/// The classes' texts as token ids.
struct ClassTexts {
  peft::TextIds names;                      ///< one a class
  std::vector<int32_t> context;             ///< tokens before the class's name in `names`, which prompts stand in place of
  std::vector<peft::TextIds> descriptions;  ///< of each class, one or more
};

/// Throws InvalidArgument for no classes, IoError for a file of attributes that is wrong or lacks a class.
ClassTexts class_texts(const std::vector<std::string>& classes, const TextEncoder& encoder, const CloudConfig& config);

}  // namespace graft::pipelines
