#pragma once

#include <ostream>
#include <string_view>

#include "data_loaders/text/tokenizer.h"

namespace graft::data {

/// Writes one JSON array of ids for each line of `text`. Lines end at '\n' only; what follows the last '\n' is a line unless empty.
/// No begin or end token is added; special tokens spelled out in the text are recognised.
void tokenize_lines(const Tokenizer& tokenizer, std::string_view text, std::ostream& out);

}  // namespace graft::data
