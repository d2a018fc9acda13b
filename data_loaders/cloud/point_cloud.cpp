#include "data_loaders/cloud/point_cloud.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/error.h"

namespace graft::data {
namespace {

bool is_position(const double* xyz) {
  return std::all_of(xyz, xyz + 3, [](double c) { return std::abs(c) <= kLargestCoordinate; });  // false for NaN too
}

std::array<double, 3> chosen_origin(const std::vector<double>& xyz) {
  std::array<double, 3> low, high, origin{};
  low.fill(std::numeric_limits<double>::infinity());
  high.fill(-std::numeric_limits<double>::infinity());
  for (size_t i = 0; i < xyz.size(); ++i) {
    low[i % 3] = std::min(low[i % 3], xyz[i]);
    high[i % 3] = std::max(high[i % 3], xyz[i]);
  }
  for (size_t axis = 0; axis < 3; ++axis) {
    if (std::max(-low[axis], high[axis]) > kFarCoordinate) origin[axis] = std::floor((low[axis] + high[axis]) / 2);
  }
  return origin;
}

/// Keeps the rows of `width` values whose index is in `rows`.
template <class T>
std::vector<T> rows_of(const std::vector<T>& values, size_t width, const std::vector<int64_t>& rows) {
  std::vector<T> taken;
  if (values.empty()) return taken;
  taken.reserve(rows.size() * width);
  for (const int64_t row : rows) {
    const auto begin = values.begin() + row * static_cast<int64_t>(width);
    taken.insert(taken.end(), begin, begin + static_cast<int64_t>(width));
  }
  return taken;
}

}  // namespace

const char* name_of(UpAxis axis) {
  switch (axis) {
    case UpAxis::kX:
      return "x";
    case UpAxis::kY:
      return "y";
    case UpAxis::kZ:
      return "z";
    default:
      return "auto";
  }
}

UpAxis up_axis_named(const std::string& name) {
  for (const auto axis : {UpAxis::kUnknown, UpAxis::kX, UpAxis::kY, UpAxis::kZ}) {
    if (name == name_of(axis)) return axis;
  }
  throw InvalidArgument({.where = "up axis", .what = "unknown name", .expected = "x, y, z or auto", .got = "\"" + name + "\""});
}

std::array<double, 3> PointCloud::position(int64_t i) const {
  const float* p = points.data() + 3 * i;
  return {origin[0] + p[0], origin[1] + p[1], origin[2] + p[2]};
}

PointCloud to_cloud(RawPoints raw, const std::string& source) {
  std::vector<int64_t> kept;
  kept.reserve(static_cast<size_t>(raw.size()));
  for (int64_t i = 0; i < raw.size(); ++i) {
    if (is_position(raw.xyz.data() + 3 * i)) kept.push_back(i);
  }
  PointCloud cloud{.source = source, .dropped = raw.size() - static_cast<int64_t>(kept.size())};
  if (kept.empty()) {
    throw IoError({.where = source,
                   .what = raw.size() == 0 ? "holds no points" : "no point of " + std::to_string(raw.size()) + " has three finite coordinates",
                   .hint = "an empty cloud cannot be labelled; leave the file out"});
  }
  if (cloud.dropped > 0) {
    raw.xyz = rows_of(raw.xyz, 3, kept);
    raw.colours = rows_of(raw.colours, 3, kept);
    raw.labels = rows_of(raw.labels, 1, kept);
    raw.intensity = rows_of(raw.intensity, 1, kept);
  }
  cloud.origin = chosen_origin(raw.xyz);
  cloud.points.resize(raw.xyz.size());
  for (size_t i = 0; i < raw.xyz.size(); ++i) cloud.points[i] = static_cast<float>(raw.xyz[i] - cloud.origin[i % 3]);
  cloud.colours = std::move(raw.colours);
  cloud.labels = std::move(raw.labels);
  cloud.intensity = std::move(raw.intensity);
  return cloud;
}

PointCloud take_points(const PointCloud& cloud, const std::vector<int64_t>& indices) {
  PointCloud taken{.origin = cloud.origin, .source = cloud.source, .up = cloud.up, .dropped = cloud.dropped, .notes = cloud.notes};
  taken.points = rows_of(cloud.points, 3, indices);
  taken.colours = rows_of(cloud.colours, 3, indices);
  taken.labels = rows_of(cloud.labels, 1, indices);
  taken.intensity = rows_of(cloud.intensity, 1, indices);
  return taken;
}

}  // namespace graft::data
