#include "data_loaders/text/clean_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace graft::data {
namespace {

constexpr int kMaxCombiningRun = 1000;

const utf8proc_uint8_t* raw(std::string_view text) { return reinterpret_cast<const utf8proc_uint8_t*>(text.data()); }

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// Calls visit(code point, byte offset) until it returns false; returns the offset of an invalid byte, or npos.
template <class Visit>
size_t for_each_code_point(std::string_view text, Visit visit) {
  size_t at = 0;
  while (at < text.size()) {
    utf8proc_int32_t code = -1;
    const auto used = utf8proc_iterate(raw(text) + at, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (used <= 0 || code < 0) return at;
    if (!visit(code, at)) return std::string_view::npos;
    at += static_cast<size_t>(used);
  }
  return std::string_view::npos;
}

bool has_long_combining_run(std::string_view text) {
  int run = 0;
  bool found = false;
  for_each_code_point(text, [&](utf8proc_int32_t code, size_t) {
    run = utf8proc_get_property(code)->combining_class != 0 ? run + 1 : 0;
    found = run > kMaxCombiningRun;
    return !found;
  });
  return found;
}

}  // namespace

size_t find_invalid_utf8(std::string_view bytes) {
  return for_each_code_point(bytes, [](utf8proc_int32_t, size_t) { return true; });
}

Result<std::string> clean_text(std::string_view bytes) {
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  if (is_ascii(bytes)) return std::string(bytes);
  if (const size_t bad = find_invalid_utf8(bytes); bad != std::string_view::npos) {
    return Result<std::string>::failure("invalid UTF-8 at byte " + std::to_string(bad) + " of the text");
  }
  if (has_long_combining_run(bytes)) return Result<std::string>::failure("more than 1000 combining marks in a row");
  utf8proc_uint8_t* composed = nullptr;
  const auto size = utf8proc_map(raw(bytes), static_cast<utf8proc_ssize_t>(bytes.size()), &composed,
                                 static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(composed, &std::free);
  if (size < 0) return Result<std::string>::failure(std::string("Unicode normalisation: ") + utf8proc_errmsg(size));
  return std::string(reinterpret_cast<const char*>(composed), static_cast<size_t>(size));
}

bool is_blank(std::string_view utf8) {
  bool blank = true;
  const size_t invalid = for_each_code_point(utf8, [&](utf8proc_int32_t code, size_t) {
    const auto category = utf8proc_category(code);
    blank = category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP ||
            category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF;
    return blank;
  });
  return blank && invalid == std::string_view::npos;
}

std::string excerpt(std::string_view bytes, size_t limit) {
  std::string line;
  const auto append = [&](utf8proc_int32_t code, size_t at) {
    utf8proc_uint8_t encoded[4];
    const auto size = static_cast<size_t>(utf8proc_encode_char(code < 0x20 || code == 0x7F ? ' ' : code, encoded));
    if (at + size > limit) return false;
    line.append(reinterpret_cast<const char*>(encoded), size);
    return true;
  };
  const size_t bad = for_each_code_point(bytes, append);
  if (bad != std::string_view::npos)
    line += "\xEF\xBF\xBD";
  else if (line.size() < bytes.size())
    line += "...";
  return line;
}

}  // namespace graft::data
