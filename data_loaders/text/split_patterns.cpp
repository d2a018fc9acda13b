#include "data_loaders/text/split_patterns.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {

const std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Row {
  std::vector<std::string_view> names;
  std::vector<std::string_view> patterns;  // applied one after the other, each isolating its matches
  bool ignore_merges, add_bos, compose;
};

const std::vector<Row>& rows() {
  static const std::vector<Row> table = {
      {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "roberta-bpe"}, {kGpt2Pattern}, false, false, false},
      {{"smollm", "starcoder", "refact", "command-r", "codeshell"}, {R"(\p{N})", kGpt2Pattern}, false, false, false},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3"}, {kLlama3Pattern}, true, true, false},
      {{"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan"}, {kQwen2Pattern}, false, false, true},
      {{"tekken"}, {kTekkenPattern}, true, true, false},
      {{"default"}, {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", "[0-9][0-9][0-9]"}, false, false, false},
  };
  return table;
}

}  // namespace

SplitRecipe split_recipe(const std::string& name, const std::string& where) {
  for (const Row& row : rows()) {
    for (const auto& candidate : row.names) {
      if (candidate != name) continue;
      std::vector<PreTokenizerPtr> steps;
      for (const auto& pattern : row.patterns) steps.push_back(split_step({pattern, where}, SplitBehavior::kIsolated));
      steps.push_back(byte_level_step({.add_prefix_space = false, .split_as_gpt2 = false}));
      return {sequence_of(std::move(steps)), row.ignore_merges, row.add_bos, row.compose, {row.patterns.begin(), row.patterns.end()}};
    }
  }
  throw InvalidArgument({.where = where, .what = "pre-tokeniser " + formats::shown(name) + " is not known", .hint = suggest(name, split_recipe_names())});
}

std::optional<std::string> split_recipe_name(std::span<const std::string> patterns) {
  for (const Row& row : rows())
    if (std::equal(row.patterns.begin(), row.patterns.end(), patterns.begin(), patterns.end())) return std::string(row.names.front());
  return std::nullopt;
}

std::vector<std::string> split_recipe_names() {
  std::vector<std::string> names;
  for (const Row& row : rows()) names.insert(names.end(), row.names.begin(), row.names.end());
  return names;
}

}  // namespace graft::data
