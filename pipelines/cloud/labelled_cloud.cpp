#include "pipelines/cloud/labelled_cloud.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"

namespace graft::pipelines {
namespace {

template <class T>
void append(std::string& bytes, const T& value) {
  const size_t at = bytes.size();
  bytes.resize(at + sizeof value);
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

void expect_labels(const data::PointCloud& cloud) {
  if (static_cast<int64_t>(cloud.labels.size()) != cloud.size())
    throw InvalidArgument({.where = cloud.source, .what = "has no label for each point", .expected = std::to_string(cloud.size()), .got = std::to_string(cloud.labels.size())});
}

bool is_far(const data::PointCloud& cloud) { return std::any_of(cloud.origin.begin(), cloud.origin.end(), [](double x) { return x != 0; }); }

/// What the numbers of `label` mean, one comment a line. A name's own line breaks would end the comment.
std::string meanings(std::span<const std::string> classes, const char* comment) {
  std::string lines = fmt::format("{} label {} unlabelled\n{} label {} none of these\n", comment, kUnlabelled, comment, kNoneOfThese);
  for (size_t k = 0; k < classes.size(); ++k) {
    auto name = classes[k];
    std::replace_if(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
    lines += fmt::format("{} label {} {}\n", comment, k, name);
  }
  return lines;
}

Colour colour_of_hue(double hue) {
  Colour colour{};
  for (size_t i = 0; i < 3; ++i) {
    const double wave = std::cos(6.283185307179586 * (hue - static_cast<double>(i) / 3));
    colour[i] = static_cast<uint8_t>(std::lround(128 + 96 * wave));
  }
  return colour;
}

}  // namespace

Colour colour_of_label(int32_t label) {
  static constexpr std::array<Colour, 10> kFirst = {{{31, 119, 180}, {230, 126, 34}, {44, 140, 70}, {192, 57, 43}, {142, 92, 180},
                                                     {121, 85, 72}, {216, 112, 178}, {178, 176, 40}, {32, 170, 186}, {80, 84, 170}}};
  if (label == kNoneOfThese) return {90, 90, 90};
  if (label < 0) return {176, 176, 172};
  if (label < static_cast<int32_t>(kFirst.size())) return kFirst[static_cast<size_t>(label)];
  return colour_of_hue(std::fmod(0.6180339887498949 * label, 1.0));  // the golden ratio's turns never meet
}

data::PointCloud turned_back(data::PointCloud cloud, data::UpAxis up) {
  const auto turn = [&](auto* p) {
    const auto x = p[0], y = p[1], z = p[2];
    if (up == data::UpAxis::kY) p[0] = x, p[1] = z, p[2] = -y;
    if (up == data::UpAxis::kX) p[0] = z, p[1] = y, p[2] = -x;
  };
  for (size_t i = 0; i < cloud.points.size(); i += 3) turn(&cloud.points[i]);
  turn(cloud.origin.data());
  return cloud;
}

void write_labelled_ply(const std::filesystem::path& file, const data::PointCloud& cloud, std::span<const std::string> classes) {
  expect_labels(cloud);
  const char* type = is_far(cloud) ? "double" : "float";
  std::string bytes = "ply\nformat binary_little_endian 1.0\n" + meanings(classes, "comment") +
                      fmt::format("element vertex {}\nproperty {} x\nproperty {} y\nproperty {} z\nproperty uchar red\nproperty uchar green\n"
                                  "property uchar blue\nproperty int label\nend_header\n", cloud.size(), type, type, type);
  for (int64_t i = 0; i < cloud.size(); ++i) {
    for (size_t axis = 0; axis < 3; ++axis) is_far(cloud) ? append(bytes, cloud.position(i)[axis]) : append(bytes, cloud.points[static_cast<size_t>(3 * i) + axis]);
    const auto label = cloud.labels[static_cast<size_t>(i)];
    for (const uint8_t part : colour_of_label(label)) append(bytes, part);
    append(bytes, label);
  }
  write_file_atomically(file, bytes);
}

void write_labelled_pcd(const std::filesystem::path& file, const data::PointCloud& cloud, std::span<const std::string> classes) {
  expect_labels(cloud);
  std::string bytes = is_far(cloud) ? fmt::format("# origin {:.17g} {:.17g} {:.17g}\n", cloud.origin[0], cloud.origin[1], cloud.origin[2]) : "";
  bytes += meanings(classes, "#") + fmt::format("VERSION 0.7\nFIELDS x y z rgb label\nSIZE 4 4 4 4 4\nTYPE F F F U I\nCOUNT 1 1 1 1 1\nWIDTH {}\nHEIGHT 1\n"
                                                "VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {}\nDATA binary\n", cloud.size(), cloud.size());
  for (int64_t i = 0; i < cloud.size(); ++i) {
    for (size_t axis = 0; axis < 3; ++axis) append(bytes, cloud.points[static_cast<size_t>(3 * i) + axis]);
    const auto label = cloud.labels[static_cast<size_t>(i)];
    const auto colour = colour_of_label(label);
    append(bytes, static_cast<uint32_t>(colour[0]) << 16 | static_cast<uint32_t>(colour[1]) << 8 | colour[2]);
    append(bytes, label);
  }
  write_file_atomically(file, bytes);
}

}  // namespace graft::pipelines
