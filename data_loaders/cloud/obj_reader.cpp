#include <algorithm>
#include <cmath>

#include "data_loaders/cloud/cloud_readers.h"
#include "data_loaders/cloud/number_scanner.h"

// Wavefront OBJ: positions, colours behind them, faces. Read here and not by Open3D: its parser keeps positions as float, takes "nan" for 0,
// opens the materials and pictures that a file names, and trusts every index.
namespace graft::data {
namespace {

class ObjReader {
 public:
  explicit ObjReader(const FileContent& file) : file_(file), lines_(file.bytes) {}

  Mesh read() {
    while (const auto line = lines_.line()) {
      if (line->ends_with('\\')) wrong("a line goes on in the next", "one line for each statement", *line);
      TextScanner words(*line);
      const auto key = words.word();
      if (key == "v") read_vertex(words);
      if (key == "f") read_face(words);
    }
    const auto count = static_cast<int64_t>(mesh_.vertices.size() / 3);
    for (const auto& triangle : mesh_.triangles) {
      for (const int64_t corner : triangle) {
        if (corner >= count) refuse(file_, "a face names no vertex", "1.." + std::to_string(count), std::to_string(corner + 1));
      }
    }
    if (colours_.size() == mesh_.vertices.size()) set_colours();
    return std::move(mesh_);
  }

 private:
  void read_vertex(TextScanner& words) {
    for (int axis = 0; axis < 3; ++axis) {
      const auto word = words.word();
      const auto value = number_in(word);
      if (!value) wrong("no number for a coordinate", "v x y z", word);
      mesh_.vertices.push_back(*value);
    }
    std::vector<double> more;
    for (auto value = number_in(words.word()); value; value = number_in(words.word())) more.push_back(*value);
    if (more.size() == 3 || more.size() == 4) colours_.insert(colours_.end(), more.begin(), more.begin() + 3);
  }

  /// v, v/vt, v//vn or v/vt/vn; below 0: counted back from the last vertex so far. Only v matters here.
  void read_face(TextScanner& words) {
    const auto seen = static_cast<int64_t>(mesh_.vertices.size() / 3);
    std::vector<int64_t> corners;
    for (auto word = words.word(); !word.empty() && !word.starts_with('#'); word = words.word()) {
      const auto index = integer_in(word.substr(0, word.find('/')));
      if (!index || *index == 0 || *index < -seen) wrong("a face names no vertex", "1 or more, or -1 down to -" + std::to_string(seen), word);
      corners.push_back(*index > 0 ? *index - 1 : seen + *index);
    }
    add_polygon(mesh_, corners);
  }

  /// Fractions, or bytes; a file says which only by what it holds.
  void set_colours() {
    const bool fractions = std::none_of(colours_.begin(), colours_.end(), [](double c) { return c > 1; });
    for (const double c : colours_) {
      const double value = fractions ? c * 255 + 0.5 : c;
      mesh_.colours.push_back(std::isnan(value) ? uint8_t{0} : static_cast<uint8_t>(std::clamp(value, 0.0, 255.0)));
    }
  }

  [[noreturn]] void wrong(const std::string& what, const std::string& expected, std::string_view got) const {
    throw IoError({.where = file_.name + ", line " + std::to_string(lines_.lines()),
                   .what = what,
                   .expected = expected,
                   .got = "\"" + std::string(got) + "\""});
  }

  const FileContent& file_;
  TextScanner lines_;
  Mesh mesh_;
  std::vector<double> colours_;
};

}  // namespace

PointCloud read_obj(const FileContent& file, const ReadOptions& options) { return cloud_of_mesh(ObjReader(file).read(), file.name, options); }

}  // namespace graft::data
