#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace graft::data {

/// Words for comparing texts: compatibility-composed and case-folded runs of letters, marks and digits. Chinese and
/// Japanese characters, which no space divides, are a word each; punctuation and symbols fall away. Expects valid
/// UTF-8.
std::vector<std::string> word_tokens(std::string_view text);

/// The same, joined by single spaces.
std::string comparison_form(std::string_view text);

/// Han characters and kana.
bool is_undivided_script(int32_t code_point);

/// True if at least half of the letters are of an undivided script.
bool is_mostly_undivided(std::string_view text);

}  // namespace graft::data
