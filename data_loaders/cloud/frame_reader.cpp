#include <algorithm>
#include <cmath>

#include "data_loaders/cloud/cloud_readers.h"

namespace graft::data {
namespace {

constexpr size_t kFloat = sizeof(float);
constexpr float kFarthestReturn = 1e5f;  ///< metres; no laser scanner of a vehicle sees so far

/// KITTI has x y z intensity, nuScenes x y z intensity ring; other programs write x y z alone.
size_t columns_of(const FileContent& file, int64_t asked) {
  const auto fits = [&](size_t columns) { return file.bytes.size() % (columns * kFloat) == 0; };
  if (asked != 0) {
    if (asked < 3 || asked > 64) {
      throw InvalidArgument({.where = "frame_columns", .what = "out of range", .expected = "0 or 3..64", .got = std::to_string(asked)});
    }
    if (fits(static_cast<size_t>(asked))) return static_cast<size_t>(asked);
  } else {
    if (file.path.filename().string().ends_with(".pcd.bin") && fits(5)) return 5;
    if (fits(4)) return 4;
    if (fits(3)) return 3;
  }
  refuse(file, "its length is no multiple of a point's",
         asked != 0 ? std::to_string(asked) + " float32 values a point" : "3, 4 or (in *.pcd.bin) 5 float32 values a point",
         std::to_string(file.bytes.size()) + " bytes");
}

}  // namespace

PointCloud read_frame(const FileContent& file, const ReadOptions& options) {
  const size_t columns = columns_of(file, options.frame_columns);
  const size_t count = file.bytes.size() / (columns * kFloat);
  RawPoints raw;
  raw.xyz.reserve(count * 3);
  size_t implausible = 0;
  for (size_t i = 0; i < count; ++i) {
    bool near = true;
    for (size_t c = 0; c < 3; ++c) {
      const auto value = load<float>(file.bytes, (i * columns + c) * kFloat);
      near = near && std::abs(value) <= kFarthestReturn;
      raw.xyz.push_back(value);
    }
    implausible += !near;
    if (columns > 3) raw.intensity.push_back(load<float>(file.bytes, (i * columns + 3) * kFloat));
  }
  // Any bytes are floats; bytes that are something else give coordinates of all magnitudes.
  if (implausible * 2 > count) {
    refuse(file, "does not look like a laser scanner's frame", "float32 points within 100 km",
           std::to_string(implausible) + " of " + std::to_string(count) + " are not");
  }
  auto cloud = to_cloud(std::move(raw), file.name);
  cloud.up = UpAxis::kZ;
  cloud.notes.push_back(std::to_string(columns) + " float32 values a point");
  return cloud;
}

}  // namespace graft::data
