#include "data_loaders/cloud/stl_check.h"

#include <set>

#include "data_loaders/cloud/number_scanner.h"

namespace graft::data {
namespace {

constexpr size_t kStlHeader = 84, kStlTriangle = 50;

[[noreturn]] void wrong(const FileContent& file, int64_t line, const std::string& what, const std::string& expected, std::string_view got) {
  throw IoError({.where = file.name + ", line " + std::to_string(line), .what = what, .expected = expected, .got = "\"" + std::string(got) + "\""});
}

}  // namespace

void check_stl(const FileContent& file) {
  const uint64_t size = file.bytes.size();
  if (size >= kStlHeader && size == kStlHeader + kStlTriangle * load<uint32_t>(file.bytes, 80)) return;
  TextScanner words(file.bytes);
  if (words.word() != "solid") {
    refuse(file, "is no STL",
           "\"solid\" and text, or " + std::to_string(kStlTriangle) + " bytes a triangle after a head of " + std::to_string(kStlHeader),
           std::to_string(size) + " bytes");
  }
  static const std::set<std::string_view> known = {"facet", "normal", "outer", "loop", "vertex", "endloop", "endfacet", "endsolid", "solid"};
  TextScanner lines(file.bytes);
  while (const auto line = lines.line()) {
    TextScanner row(*line);
    const auto key = row.word();
    if (!key.empty() && !known.contains(key)) wrong(file, lines.lines(), "a word that STL does not have", "facet, outer loop, vertex, ...", key);
    for (int axis = 0; key == "vertex" && axis < 3; ++axis) {
      const auto word = row.word();
      if (!number_in(word)) wrong(file, lines.lines(), "no number for a coordinate", "vertex x y z", word);
    }
  }
}

}  // namespace graft::data
