#pragma once

#include <string>
#include <string_view>

#include "peft_core/base/result.h"

namespace graft::data {

/// Valid UTF-8 in normal form C without a leading byte order mark, or the reason why it cannot be had: an invalid byte
/// (with its offset) or a run of over 1,000 combining marks (its normalisation would take quadratic time).
Result<std::string> clean_text(std::string_view bytes);

/// Offset of the first byte that is no valid UTF-8, or npos.
size_t find_invalid_utf8(std::string_view bytes);

/// True if nothing but Unicode white space, control characters and zero-width marks is there.
bool is_blank(std::string_view utf8);

/// At most `limit` bytes, cut between characters, without line breaks or control characters: safe to print in one line.
std::string excerpt(std::string_view bytes, size_t limit = 120);

}  // namespace graft::data
