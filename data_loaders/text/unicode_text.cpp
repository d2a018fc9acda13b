#include "data_loaders/text/unicode_text.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

#include "data_loaders/text/unicode_additions.h"
#include "kernels/base/error.h"

namespace graft::data {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Scan {
  size_t length;  // bytes to step over
  bool valid;
};

bool in(std::string_view s, size_t i, unsigned low, unsigned high) {
  return i < s.size() && static_cast<unsigned char>(s[i]) >= low && static_cast<unsigned char>(s[i]) <= high;
}

// Table 3-7 of the Unicode standard; an ill-formed sequence ends before the first byte that cannot continue it.
Scan scan_character(std::string_view s, size_t i) {
  const auto b = static_cast<unsigned char>(s[i]);
  if (b < 0x80) return {1, true};
  if (b < 0xC2 || b > 0xF4) return {1, false};
  if (b < 0xE0) return in(s, i + 1, 0x80, 0xBF) ? Scan{2, true} : Scan{1, false};
  const unsigned low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
  const unsigned high = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
  if (!in(s, i + 1, low, high)) return {1, false};
  if (!in(s, i + 2, 0x80, 0xBF)) return {2, false};
  if (b < 0xF0) return {3, true};
  return in(s, i + 3, 0x80, 0xBF) ? Scan{4, true} : Scan{3, false};
}

template <class Visit>
std::string map_characters(std::string_view text, Visit visit) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); i += character_length(text, i)) visit(out, code_point_at(text, i));
  return out;
}

bool is_ascii(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  return true;
}

void append_normal_form(std::string& out, std::string_view text, NormalForm form) {
  if (text.empty()) return;
  const int compose = form == NormalForm::kNfc || form == NormalForm::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  const int compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd ? UTF8PROC_COMPAT : 0;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | compose | compatible);
  utf8proc_uint8_t* raw = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &raw, options);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(raw, &std::free);
  if (length < 0)
    throw InvalidArgument({.where = "tokenizer", .what = "Unicode normalisation failed", .got = utf8proc_errmsg(length)});
  out.append(reinterpret_cast<const char*>(raw), static_cast<size_t>(length));
}

std::array<char32_t, 256> byte_code_points() {
  std::array<char32_t, 256> out{};
  char32_t spare = 256;
  for (unsigned b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    out[b] = printable ? b : spare++;
  }
  return out;
}

}  // namespace

bool is_valid_utf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    const Scan scan = scan_character(bytes, i);
    if (!scan.valid) return false;
    i += scan.length;
  }
  return true;
}

std::string valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const Scan scan = scan_character(bytes, i);
    out += scan.valid ? bytes.substr(i, scan.length) : kReplacement;
    i += scan.length;
  }
  return out;
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

size_t character_length(std::string_view text, size_t pos) {
  const auto b = static_cast<unsigned char>(text[pos]);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

char32_t code_point_at(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[pos + i])); };
  switch (character_length(text, pos)) {
    case 1: return byte(0);
    case 2: return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3: return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    default: return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  }
}

size_t character_begin_before(std::string_view text, size_t end) {
  size_t pos = end - 1;
  while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80) --pos;
  return pos;
}

bool is_white_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word_character(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
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
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
  }
}

std::string normal_form(std::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  std::string out;
  size_t begin = 0;
  for (size_t i = 0, length; i < text.size(); i += length) {
    length = character_length(text, i);
    if (length < 2 || !is_left_alone_by_normalisation(code_point_at(text, i))) continue;
    append_normal_form(out, text.substr(begin, i - begin), form);
    out += text.substr(i, length);
    begin = i + length;
  }
  append_normal_form(out, text.substr(begin), form);
  return out;
}

std::string lower_case(std::string_view text) {
  return map_characters(text, [](std::string& out, char32_t c) {
    if (c == 0x130) {  // the one character whose lower case is two characters
      out += "i\xCC\x87";
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  });
}

std::string without_marks(std::string_view text) {
  return map_characters(text, [](std::string& out, char32_t c) {
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
    const bool mark = category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
    if (!mark || is_unknown_mark(c)) append_utf8(out, c);
  });
}

const std::array<std::string, 256>& byte_characters() {
  static const auto table = [] {
    std::array<std::string, 256> out;
    const auto points = byte_code_points();
    for (size_t b = 0; b < 256; ++b) append_utf8(out[b], points[b]);
    return out;
  }();
  return table;
}

std::optional<uint8_t> byte_of_character(char32_t c) {
  static const auto table = [] {
    std::array<int16_t, 512> out;
    out.fill(-1);
    const auto points = byte_code_points();
    for (size_t b = 0; b < 256; ++b) out[points[b]] = static_cast<int16_t>(b);
    return out;
  }();
  if (c >= table.size() || table[c] < 0) return std::nullopt;
  return static_cast<uint8_t>(table[c]);
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty() || text.find(from) == std::string::npos) return;
  std::string out;
  out.reserve(text.size());
  size_t begin = 0;
  for (size_t hit; (hit = text.find(from, begin)) != std::string::npos; begin = hit + from.size())
    out.append(text, begin, hit - begin).append(to);
  text = out.append(text, begin);
}

}  // namespace graft::data
