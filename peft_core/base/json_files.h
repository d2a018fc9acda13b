#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace graft {

/// Parses JSON that a stranger may have written; `where` names it in errors.
/// Throws IoError for malformed text (with its place) and for more than 200 nested levels, which could exhaust the stack later.
nlohmann::json parse_json(std::string_view text, const std::string& where);
/// The same that keeps the order of keys.
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& where);
nlohmann::json read_json_file(const std::filesystem::path& file);

/// One line; bytes that are not UTF-8 become U+FFFD.
std::string to_json_line(const nlohmann::ordered_json& value);
/// Written atomically, indented, with a final newline.
void write_json_file(const std::filesystem::path& file, const nlohmann::ordered_json& value);

}  // namespace graft
