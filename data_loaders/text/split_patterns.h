#pragma once

#include <string>

#include "data_loaders/text/pre_tokenizer.h"

namespace graft::data {

/// How models that only name their pre-tokeniser (GGUF's `tokenizer.ggml.pre`) cut and treat text.
struct SplitRecipe {
  PreTokenizerPtr pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;
  bool compose = false;  ///< text is brought to NFC first
};

/// Throws InvalidArgument for an unknown name and lists the known ones.
SplitRecipe split_recipe(const std::string& name, const std::string& where);

extern const std::string_view kLlama3Pattern;

}  // namespace graft::data
