#include "data_loaders/text/word_tokens.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

#include "peft_core/base/text_distance.h"

namespace graft::data {
namespace {

const utf8proc_uint8_t* raw(std::string_view text) { return reinterpret_cast<const utf8proc_uint8_t*>(text.data()); }

bool is_word_part(utf8proc_int32_t code) {
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return false;
  }
}

/// Calls visit(code point, its bytes) for each valid character.
template <class Visit>
void for_each_character(std::string_view text, Visit visit) {
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t code = -1;
    const auto used = utf8proc_iterate(raw(text) + at, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (used > 0) visit(code, text.substr(at, static_cast<size_t>(used)));
    at += used > 0 ? static_cast<size_t>(used) : 1;
  }
}

std::string folded(std::string_view text) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD);
  const auto size = utf8proc_map(raw(text), static_cast<utf8proc_ssize_t>(text.size()), &mapped, options);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  return size < 0 ? std::string(text) : std::string(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
}

}  // namespace

bool is_undivided_script(int32_t code) {
  return (code >= 0x2E80 && code <= 0x2FDF) || (code >= 0x3005 && code <= 0x3007) ||
         (code >= 0x3041 && code <= 0x30FF) || (code >= 0x31F0 && code <= 0x31FF) ||
         (code >= 0x3400 && code <= 0x4DBF) || (code >= 0x4E00 && code <= 0x9FFF) ||
         (code >= 0xF900 && code <= 0xFAFF) || (code >= 0x20000 && code <= 0x3FFFF);
}

std::vector<std::string> word_tokens(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for_each_character(folded(text), [&](utf8proc_int32_t code, std::string_view bytes) {
    if (is_undivided_script(code)) {
      words.emplace_back(bytes);
      inside = false;
    } else if (!is_word_part(code)) {
      inside = false;
    } else {
      if (!inside) words.emplace_back();
      words.back().append(bytes);
      inside = true;
    }
  });
  return words;
}

std::string comparison_form(std::string_view text) { return join(word_tokens(text), " "); }

bool is_mostly_undivided(std::string_view text) {
  int64_t letters = 0, undivided = 0;
  for_each_character(text, [&](utf8proc_int32_t code, std::string_view) {
    letters += is_word_part(code);
    undivided += is_undivided_script(code);
  });
  return undivided > 0 && 2 * undivided >= letters;
}

}  // namespace graft::data
