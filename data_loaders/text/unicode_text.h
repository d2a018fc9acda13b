#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace graft::data {

/// The same text with every ill-formed byte sequence (maximal subpart) replaced by U+FFFD, as browsers and Rust do.
std::string valid_utf8(std::string_view bytes);
bool is_valid_utf8(std::string_view bytes);

void append_utf8(std::string& out, char32_t code_point);

/// The next three expect valid UTF-8 and `pos` at the start of a character.
size_t character_length(std::string_view text, size_t pos);
char32_t code_point_at(std::string_view text, size_t pos);
size_t character_begin_before(std::string_view text, size_t end);  ///< start of the last character before `end`

bool is_white_space(char32_t c);      ///< Unicode White_Space
bool is_word_character(char32_t c);   ///< letters, marks, digits, connectors

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string normal_form(std::string_view text, NormalForm form);
std::string lower_case(std::string_view text);     ///< character by character, no context rules
std::string without_marks(std::string_view text);  ///< drops combining marks

/// GPT-2's printable stand-in for each byte, as UTF-8, and back.
const std::array<std::string, 256>& byte_characters();
std::optional<uint8_t> byte_of_character(char32_t c);

void replace_all(std::string& text, std::string_view from, std::string_view to);

}  // namespace graft::data
