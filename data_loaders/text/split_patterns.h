#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data_loaders/text/pre_tokenizer.h"

namespace graft::data {

/// How models that only name their pre-tokeniser (GGUF's `tokenizer.ggml.pre`) cut and treat text.
struct SplitRecipe {
  PreTokenizerPtr pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;
  bool compose = false;  ///< text is brought to NFC first
  std::vector<std::string> patterns;  ///< the expressions in the order in which they isolate their matches
};

/// Throws InvalidArgument for an unknown name and lists the known ones.
SplitRecipe split_recipe(const std::string& name, const std::string& where);

/// The name of the recipe with exactly these expressions; none if there is no such recipe.
std::optional<std::string> split_recipe_name(std::span<const std::string> patterns);
/// All names, for messages.
std::vector<std::string> split_recipe_names();

extern const std::string_view kLlama3Pattern;

}  // namespace graft::data
