#include <algorithm>
#include <string>

#include "data_loaders/cloud/cloud_readers.h"
#include "data_loaders/cloud/number_scanner.h"

// The Object File Format of Geomview, as mesh collections use it. Read here and not by Open3D, whose reader knows neither ModelNet's header
// nor comments between the lines, and trusts every index.
namespace graft::data {
namespace {

/// The text without comments, word by word, with the line in mind for colours at the end of a row.
class OffText {
 public:
  OffText(const FileContent& file) : file_(file), lines_(file.bytes) {}

  /// The next line with something in it, as a scanner of its words. Refuses the file at its end.
  TextScanner row(const char* what) {
    while (const auto line = lines_.line()) {
      const auto said = line->substr(0, line->find('#'));
      if (!TextScanner(said).word().empty()) return TextScanner(said);
    }
    refuse(file_, std::string("ends within its ") + what);
  }
  [[noreturn]] void wrong(const std::string& what, const std::string& expected, std::string_view got) const {
    throw IoError({.where = file_.name + ", line " + std::to_string(lines_.lines()),
                   .what = what,
                   .expected = expected,
                   .got = "\"" + std::string(got) + "\""});
  }

 private:
  const FileContent& file_;
  TextScanner lines_;
};

struct Counts {
  int64_t vertices = 0, faces = 0;
  int64_t skipped = 0;  ///< numbers between a vertex's position and its colour: a normal's
  bool colours = false;
};

/// "OFF", "COFF", "NOFF", "CNOFF", with the counts behind it, glued to it ("OFF490 518 0") or in the next line.
Counts read_header(const FileContent& file, OffText& text) {
  auto row = text.row("header");
  auto word = row.word();
  const auto at = word.find("OFF");
  const auto prefix = word.substr(0, at);
  if (at == std::string_view::npos || !(prefix.empty() || prefix == "C" || prefix == "N" || prefix == "CN")) {
    text.wrong("not an OFF file", "OFF, COFF, NOFF or CNOFF", word);
  }
  auto glued = word.substr(at + 3);
  if (glued.empty()) glued = row.word();
  if (glued == "BINARY") refuse(file, "binary OFF is not read", "the text form");
  if (glued.empty()) {
    row = text.row("header");
    glued = row.word();
  }
  const auto vertices = integer_in(glued);
  const auto second = row.word();
  const auto faces = integer_in(second);
  if (!vertices || !faces || *vertices < 0 || *faces < 0)
    text.wrong("no counts of vertices and faces", "two whole numbers", std::string(glued) + " " + std::string(second));
  // A vertex takes six bytes at least ("0 0 0\n"), a face two.
  const auto size = static_cast<int64_t>(file.bytes.size());
  if (*vertices > size / 5 || *faces > size / 2) {
    refuse(file, "the file is too short for its counts", std::to_string(*vertices) + " vertices, " + std::to_string(*faces) + " faces",
           std::to_string(size) + " bytes");
  }
  return {.vertices = *vertices, .faces = *faces, .skipped = prefix.ends_with('N') ? 3 : 0, .colours = prefix.starts_with('C')};
}

double number(TextScanner& row, const OffText& text, const char* what) {
  const auto word = row.word();
  const auto value = number_in(word);
  if (!value) text.wrong(std::string("no number for ") + what, "a number", word);
  return *value;
}

void read_vertex(const Counts& counts, const OffText& text, TextScanner row, Mesh& mesh, std::vector<double>& colours) {
  for (int axis = 0; axis < 3; ++axis) mesh.vertices.push_back(number(row, text, "a coordinate"));
  if (!counts.colours) return;
  for (int64_t i = 0; i < counts.skipped; ++i) number(row, text, "a normal");
  for (int c = 0; c < 3; ++c) {
    const double value = number(row, text, "a colour");
    if (!(value >= 0 && value <= 255)) text.wrong("a colour out of range", "0..255", std::to_string(value));
    colours.push_back(value);
  }
}

/// Colours are fractions or bytes; a file says which only by what it holds.
std::vector<uint8_t> colour_bytes(const std::vector<double>& colours) {
  const bool fractions = std::all_of(colours.begin(), colours.end(), [](double c) { return c <= 1; });
  std::vector<uint8_t> bytes(colours.size());
  std::transform(colours.begin(), colours.end(), bytes.begin(), [&](double c) { return static_cast<uint8_t>(fractions ? c * 255 + 0.5 : c); });
  return bytes;
}

void read_face(const OffText& text, TextScanner row, Mesh& mesh, std::vector<int64_t>& corners) {
  const auto vertices = static_cast<int64_t>(mesh.vertices.size() / 3);
  const auto first = row.word();
  const auto count = integer_in(first);
  if (!count || *count < 1 || *count > static_cast<int64_t>(row.rest().size()))
    text.wrong("no count of corners", "a number that its line has room for", first);
  corners.clear();
  for (int64_t i = 0; i < *count; ++i) {
    const auto word = row.word();
    const auto corner = integer_in(word);
    if (!corner || *corner < 0 || *corner >= vertices) text.wrong("a face names no vertex", "0.." + std::to_string(vertices - 1), word);
    corners.push_back(*corner);
  }
  add_polygon(mesh, corners);
}

}  // namespace

PointCloud read_off(const FileContent& file, const ReadOptions& options) {
  OffText text(file);
  const auto counts = read_header(file, text);
  Mesh mesh;
  std::vector<double> colours;
  for (int64_t i = 0; i < counts.vertices; ++i) read_vertex(counts, text, text.row("vertices"), mesh, colours);
  mesh.colours = colour_bytes(colours);
  std::vector<int64_t> corners;
  for (int64_t i = 0; i < counts.faces; ++i) read_face(text, text.row("faces"), mesh, corners);
  return cloud_of_mesh(std::move(mesh), file.name, options);
}

}  // namespace graft::data
