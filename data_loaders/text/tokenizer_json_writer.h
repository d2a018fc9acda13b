#pragma once

#include <cstdint>
#include <filesystem>

#include "data_loaders/text/tokenizer.h"

namespace graft::data {

/// Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json into `folder` for the tokenizer that a GGUF file carries, so
/// that transformers cuts text into the same ids, with chat template and special tokens.
/// `longest`: tokens that the model takes, for tokenizer_config.json.
/// Returns  the special tokens.
/// Throws   IoError or InvalidArgument as load_tokenizer does.
Tokenizer::Specials write_hf_tokenizer(const std::filesystem::path& gguf, const std::filesystem::path& folder, int64_t longest);

}  // namespace graft::data
