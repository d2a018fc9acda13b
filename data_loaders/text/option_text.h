#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "peft_core/base/result.h"

namespace graft::data {

/// A question whose text holds its options as lines.
struct OptionText {
  std::string stem;
  std::vector<std::string> choices;
};

/// Finds lines "A. ...", "B. ..." and so on (also "A)", "(A)", "A:" and their Chinese forms) at the end of a text; at
/// least two, from A on without a gap. Lines between them belong to the option before.
std::optional<OptionText> split_options(std::string_view text);

/// The right letters in alphabetical order from "B", "A,C", "D, A", "ACD", "(B)" or the text of one option; the reason
/// if a letter is not among the labels. `labels` are the file's own option names; the result counts from A.
Result<std::string> gold_letters(std::string_view answer, const std::vector<std::string>& labels,
                                 const std::vector<std::string>& choices);

/// "A", "B", ...
std::vector<std::string> letter_labels(size_t count);

}  // namespace graft::data
