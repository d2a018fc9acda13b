#include "peft_core/base/json_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"

namespace graft {
namespace {

constexpr int kMostLevels = 200;

int deepest_level(std::string_view text) {
  int level = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++level);
    } else if (c == ']' || c == '}') {
      --level;
    }
  }
  return deepest;
}

template <class Json>
Json parse(std::string_view text, const std::string& where) {
  if (deepest_level(text) > kMostLevels) throw IoError({.where = where, .what = "is nested too deeply", .expected = "at most 200 levels"});
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(std::min(error.byte, text.size())), '\n');
    throw IoError({.where = where, .what = "is not JSON (line " + std::to_string(line) + ", byte " + std::to_string(error.byte) + ")"});
  } catch (const nlohmann::json::exception& error) {
    throw IoError({.where = where, .what = std::string("is not JSON: ") + error.what()});
  }
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) { return parse<nlohmann::json>(text, where); }
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& where) {
  return parse<nlohmann::ordered_json>(text, where);
}

nlohmann::json read_json_file(const std::filesystem::path& file) {
  return parse_json(MappedFile::open(file)->text(), file.string());
}

std::string to_json_line(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace);
}

void write_json_file(const std::filesystem::path& file, const nlohmann::ordered_json& value) {
  write_file_atomically(file, value.dump(2, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace graft
