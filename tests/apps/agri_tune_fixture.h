#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "peft_core/backbones/decoder_config.h"

namespace graft::testing {

using Words = std::vector<std::string>;

/// What one call of the program did.
struct Outcome {
  int code = 0;
  std::string out, err;

  /// The line that begins with "error: "; empty if there is none or more than one.
  std::string error() const;
};

/// Runs the program as a function call.
Outcome agri_tune(const Words& arguments);

/// A random model of two layers and a byte-level tokenizer with ChatML marks, as a Hugging Face folder.
struct TinyFolder {
  uint64_t seed = 1;
  int64_t vocabulary = 272;               ///< the tokenizer has 259 ids
  std::string model_type = "llama";
  std::function<void(float*, size_t)> spoil;  ///< changes the weights of the first layer's down projection

  std::filesystem::path write(const std::filesystem::path& folder) const;
};
constexpr int64_t kTinyTokens = 259;

/// Question-answer rows about invented fields, numbers `first` to `first + count`.
std::filesystem::path write_rows(const std::filesystem::path& file, int first, int count);
std::filesystem::path write_choice_rows(const std::filesystem::path& file, int count);

/// Settings of a run of a few seconds, as --set arguments; later settings win over them.
Words quick_settings();

/// a followed by b.
Words operator+(Words a, const Words& b);

/// metrics.jsonl without what the clock and the machine's memory decide.
std::string timeless_metrics(const std::filesystem::path& run);
nlohmann::ordered_json json_of(const std::filesystem::path& file);
std::vector<nlohmann::ordered_json> json_lines_of(const std::filesystem::path& file);

}  // namespace graft::testing
