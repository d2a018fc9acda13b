#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace graft::data {

/// Writes a CLIP tokenizer of a small vocabulary into `folder` (made if absent): vocab.json, merges.txt, tokenizer.json,
/// tokenizer_config.json and special_tokens_map.json, as transformers' CLIPTokenizerFast reads them.
///
/// `words`    texts, each of whose words, signs and digits (as CLIP cuts them, in lower case) becomes one token; doubles are fine.
/// `longest`  tokens that the text tower takes, for tokenizer_config.json.
///
/// All 512 byte tokens are there, so every text can be spelled; <|startoftext|> and <|endoftext|> have the two largest ids. The same
/// words in any order give the same bytes. Throws IoError where the folder cannot be written.
void write_small_clip_tokenizer(const std::filesystem::path& folder, std::span<const std::string> words, int64_t longest = 77);

}  // namespace graft::data
