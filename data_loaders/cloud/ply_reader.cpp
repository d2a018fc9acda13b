#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "data_loaders/cloud/number_scanner.h"
#include "data_loaders/cloud/ply_layout.h"

// Read here and not by Open3D: its reader looks a polygon's corners up without asking whether they exist, so that every value would have to
// be walked over before; and it leaves labels and intensities out. tests/data_loaders/cloud/ply_peer_test.cpp holds the two together.
namespace graft::data {
namespace {

/// The body's values, one after the other, whatever their form.
class PlyBody {
 public:
  PlyBody(const FileContent& file, const PlyLayout& layout)
      : file_(file), order_(layout.order), bytes_(file.bytes.substr(layout.body)), lines_(bytes_), words_("") {}

  /// In text each element has a line of its own. Some writers put more into it than their header says.
  void begin_element() {
    if (order_ != PlyOrder::kAscii) return;
    surplus_ = surplus_ || !words_.word().empty();
    auto line = lines_.line();
    while (line && TextScanner(*line).word().empty()) line = lines_.line();
    if (!line) refuse(file_, "the file ends before its elements", "", "", "it may have been cut off");
    words_ = TextScanner(*line);
  }
  bool surplus() { return surplus_ || (order_ == PlyOrder::kAscii && !words_.word().empty()); }

  double next(size_t size, char kind) {
    if (order_ == PlyOrder::kAscii) {
      const auto word = words_.word();
      const auto value = number_in(word);
      if (!value)
        refuse(file_,
               std::string(word.empty() ? "ends before its elements do" : "not a number") + ", in line " + std::to_string(lines_.lines()) +
                   " after the header",
               "", word.empty() ? "" : "\"" + std::string(word) + "\"");
      return *value;
    }
    if (size > bytes_.size() - at_) refuse(file_, "the file ends before its elements", "", "", "it may have been cut off");
    char piece[8] = {};
    std::memcpy(piece, bytes_.data() + at_, size);
    at_ += size;
    if (order_ == PlyOrder::kBig) std::reverse(piece, piece + size);
    return decoded({piece, 8}, size, kind);
  }

 private:
  static double decoded(std::string_view piece, size_t size, char kind) {
    if (kind == 'f') return size == 4 ? load<float>(piece, 0) : load<double>(piece, 0);
    if (kind == 'u') return static_cast<double>(load<uint64_t>(piece, 0));  // the other bytes are zero
    return size == 1 ? load<int8_t>(piece, 0) : size == 2 ? load<int16_t>(piece, 0) : load<int32_t>(piece, 0);
  }

  const FileContent& file_;
  PlyOrder order_;
  std::string_view bytes_;
  size_t at_ = 0;
  TextScanner lines_, words_;
  bool surplus_ = false;
};

/// What a vertex's properties mean here.
enum class Role { kNone, kX, kY, kZ, kRed, kGreen, kBlue, kLabel, kIntensity };
constexpr size_t kRoles = 9;

Role role_of(const PlyProperty& property) {
  static const std::vector<std::pair<std::string_view, Role>> known = {{"x", Role::kX},
                                                                       {"y", Role::kY},
                                                                       {"z", Role::kZ},
                                                                       {"red", Role::kRed},
                                                                       {"green", Role::kGreen},
                                                                       {"blue", Role::kBlue},
                                                                       {"r", Role::kRed},
                                                                       {"g", Role::kGreen},
                                                                       {"b", Role::kBlue},
                                                                       {"diffuse_red", Role::kRed},
                                                                       {"diffuse_green", Role::kGreen},
                                                                       {"diffuse_blue", Role::kBlue},
                                                                       {"label", Role::kLabel},
                                                                       {"class", Role::kLabel},
                                                                       {"classification", Role::kLabel},
                                                                       {"scalar_Classification", Role::kLabel},
                                                                       {"scalar_Label", Role::kLabel},
                                                                       {"intensity", Role::kIntensity},
                                                                       {"scalar_Intensity", Role::kIntensity}};
  if (property.count_size != 0) return Role::kNone;
  const auto place = std::find_if(known.begin(), known.end(), [&](const auto& entry) { return entry.first == property.name; });
  return place == known.end() ? Role::kNone : place->second;
}

/// A colour of a floating type is a fraction.
uint8_t colour_byte(double value, const PlyProperty& property) {
  const double scaled = property.kind == 'f' ? value * 255 + 0.5 : property.size == 2 ? value / 257 : value;
  return std::isnan(scaled) ? 0 : static_cast<uint8_t>(std::clamp(scaled, 0.0, 255.0));
}

/// What the body holds, as it comes.
class PlyContent {
 public:
  PlyContent(const FileContent& file, const PlyLayout& layout) : file_(file), layout_(layout), body_(file, layout) {
    if (const auto* vertex = layout.element("vertex")) {
      for (const auto& property : vertex->properties) {
        roles_.push_back(role_of(property));
        if (roles_.back() != Role::kNone) has_[static_cast<size_t>(roles_.back())] = true;
      }
      vertices_ = vertex->count;
    }
  }

  void read() {
    if (!(has(Role::kX) && has(Role::kY) && has(Role::kZ))) {
      refuse(file_, vertices_ == 0 ? "holds no points" : "its vertices lack x, y or z", "an element vertex with x, y and z");
    }
    for (const auto& element : layout_.elements) {
      const bool vertex = element.name == "vertex", face = element.name == "face";
      for (int64_t i = 0; i < element.count; ++i) {
        body_.begin_element();
        vertex ? read_vertex(element) : face ? read_face(element, i) : pass_over(element);
      }
    }
  }

  PointCloud cloud(const ReadOptions& options) {
    const bool points = mesh_.triangles.empty();
    mesh_.vertices = points ? std::vector<double>() : std::move(raw_.xyz);
    mesh_.colours = points ? std::vector<uint8_t>() : std::move(raw_.colours);
    auto cloud = points ? to_cloud(std::move(raw_), file_.name) : cloud_of_mesh(std::move(mesh_), file_.name, options);
    if (body_.surplus()) cloud.notes.push_back("its lines hold more numbers than its header names; the rest was left out");
    return cloud;
  }

 private:
  bool has(Role role) const { return has_[static_cast<size_t>(role)]; }
  bool has_colour() const { return has(Role::kRed) && has(Role::kGreen) && has(Role::kBlue); }

  void read_vertex(const PlyElement& element) {
    std::array<double, kRoles> values{};
    std::array<const PlyProperty*, kRoles> from{};
    for (size_t p = 0; p < element.properties.size(); ++p) {
      const auto& property = element.properties[p];
      const double value = pass_over(property);
      values[static_cast<size_t>(roles_[p])] = value;
      from[static_cast<size_t>(roles_[p])] = &property;
    }
    const auto value = [&](Role role) { return values[static_cast<size_t>(role)]; };
    raw_.xyz.insert(raw_.xyz.end(), {value(Role::kX), value(Role::kY), value(Role::kZ)});
    if (has_colour()) {
      for (const auto role : {Role::kRed, Role::kGreen, Role::kBlue})
        raw_.colours.push_back(colour_byte(value(role), *from[static_cast<size_t>(role)]));
    }
    if (has(Role::kIntensity)) raw_.intensity.push_back(static_cast<float>(value(Role::kIntensity)));
    if (!has(Role::kLabel)) return;
    constexpr double kLow = std::numeric_limits<int32_t>::min(), kHigh = std::numeric_limits<int32_t>::max();
    const double label = value(Role::kLabel);
    raw_.labels.push_back(std::isnan(label) ? 0 : static_cast<int32_t>(std::clamp(label, kLow, kHigh)));
  }

  void read_face(const PlyElement& element, int64_t number) {
    for (const auto& property : element.properties) {
      const bool corners = property.count_size != 0 && (property.name == "vertex_indices" || property.name == "vertex_index");
      if (!corners) {
        pass_over(property);
        continue;
      }
      const double count = body_.next(property.count_size, 'u');
      corners_.clear();
      for (double entry = 0; entry < count; ++entry) {
        const double corner = body_.next(property.size, property.kind);
        if (!(corner >= 0 && corner < static_cast<double>(vertices_))) {
          refuse(file_, "face " + std::to_string(number) + " names no vertex", "0.." + std::to_string(vertices_ - 1), std::to_string(corner));
        }
        corners_.push_back(static_cast<int64_t>(corner));
      }
      add_polygon(mesh_, corners_);
    }
  }

  /// The value, or a list's last one.
  double pass_over(const PlyProperty& property) {
    const double count = property.count_size == 0 ? 1 : body_.next(property.count_size, 'u');
    double value = 0;
    for (double entry = 0; entry < count; ++entry) value = body_.next(property.size, property.kind);
    return value;
  }
  void pass_over(const PlyElement& element) {
    for (const auto& property : element.properties) pass_over(property);
  }

  const FileContent& file_;
  const PlyLayout& layout_;
  PlyBody body_;
  std::vector<Role> roles_;  ///< of the vertex's properties
  std::array<bool, kRoles> has_{};
  int64_t vertices_ = 0;
  RawPoints raw_;
  Mesh mesh_;
  std::vector<int64_t> corners_;
};

}  // namespace

PointCloud read_ply(const FileContent& file, const ReadOptions& options) {
  const auto layout = read_ply_layout(file);
  PlyContent content(file, layout);
  content.read();
  return content.cloud(options);
}

}  // namespace graft::data
