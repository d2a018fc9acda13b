#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data_loaders/text/unicode_regex.h"
#include "data_loaders/text/unicode_text.h"

namespace graft::data {

/// Rewrites a stretch of text between special tokens before it is cut. An empty function changes nothing.
using Normalizer = std::function<std::string(std::string)>;

Normalizer unicode_form_normalizer(NormalForm form);
Normalizer lowercase_normalizer();
Normalizer strip_marks_normalizer();
Normalizer strip_white_space_normalizer(bool left, bool right);
Normalizer prepend_normalizer(std::string prefix);  ///< an empty text stays empty
Normalizer replace_normalizer(UnicodeRegex pattern, std::string content);
Normalizer replace_text_normalizer(std::string from, std::string to);
Normalizer byte_level_normalizer();
Normalizer sequence_of(std::vector<Normalizer> steps);

}  // namespace graft::data
