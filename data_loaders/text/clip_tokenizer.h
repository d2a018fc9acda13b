#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data_loaders/text/normalizer.h"
#include "data_loaders/text/pre_tokenizer.h"

namespace graft::data {

/// What all CLIP tokenizers share. Source: Radford et al. 2021, arXiv:2103.00020; the stages are those of transformers' CLIPTokenizerFast.
inline constexpr const char* kClipBegin = "<|startoftext|>";
inline constexpr const char* kClipEnd = "<|endoftext|>";
inline constexpr const char* kClipWordEnd = "</w>";
/// Words, single digits and runs of other characters; white space between them is dropped.
extern const std::string_view kClipPattern;

/// NFC, each run of white space one space, lower case.
Normalizer clip_normalizer();
/// Cuts by kClipPattern, then spells each piece in byte characters.
PreTokenizerPtr clip_pre_tokenizer();

/// The first 512 tokens: each byte's character, in the order of code points, and then each of them at the end of a word.
std::vector<std::string> clip_byte_tokens();

}  // namespace graft::data
