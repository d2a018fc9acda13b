#pragma once

#include <span>
#include <string_view>

namespace graft::data {

struct CategoryRange {
  char32_t first, last;
  std::string_view category;  ///< two letters, such as "Lu"
};

/// Characters assigned after Unicode 14, which older regular-expression libraries take for unassigned.
std::span<const CategoryRange> unicode_additions();

/// Characters that the reference library's Unicode normalisation does not know yet and so neither moves nor changes.
bool is_left_alone_by_normalisation(char32_t c);
bool is_unknown_mark(char32_t c);  ///< the same for dropping marks

}  // namespace graft::data
