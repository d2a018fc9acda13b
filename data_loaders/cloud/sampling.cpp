#include "data_loaders/cloud/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>

#include "kernels/base/error.h"
#include "peft_core/base/rng.h"

namespace graft::data {
namespace {

/// With coordinates up to 1e12 a cube's number stays far within double.
constexpr double kSmallestSide = 1e-30;

void expect_count(int64_t count) {
  if (count < 1) throw InvalidArgument({.where = "number of points", .what = "out of range", .expected = "1 or more", .got = std::to_string(count)});
}

std::array<double, 3> mean_of(const PointCloud& cloud) {
  std::array<double, 3> mean{};
  for (size_t i = 0; i < cloud.points.size(); ++i) mean[i % 3] += cloud.points[i];
  for (auto& value : mean) value /= static_cast<double>(std::max<int64_t>(cloud.size(), 1));
  return mean;
}

/// Whole numbers, as double because a tiny side makes them larger than int64 holds.
struct Cube {
  std::array<double, 3> at;
  bool operator==(const Cube&) const = default;
};
struct CubeHash {
  size_t operator()(const Cube& cube) const {
    uint64_t hash = 0;
    for (const double c : cube.at) hash = (hash ^ std::bit_cast<uint64_t>(c)) * 0x9E3779B97F4A7C15ULL + (hash >> 29);
    return static_cast<size_t>(hash);
  }
};

/// What a cube's points sum up to.
struct Sum {
  int64_t count = 0, first = 0;
  std::array<double, 3> position{}, colour{};
  double intensity = 0;
};

void add_point(const PointCloud& cloud, int64_t i, Sum& sum) {
  if (sum.count++ == 0) sum.first = i;
  const auto at = static_cast<size_t>(3 * i);
  for (size_t axis = 0; axis < 3; ++axis) {
    sum.position[axis] += cloud.points[at + axis];
    if (!cloud.colours.empty()) sum.colour[axis] += cloud.colours[at + axis];
  }
  if (!cloud.intensity.empty()) sum.intensity += cloud.intensity[static_cast<size_t>(i)];
}

void add_mean(const PointCloud& from, const Sum& sum, PointCloud& to) {
  const auto count = static_cast<double>(sum.count);
  for (size_t axis = 0; axis < 3; ++axis) {
    to.points.push_back(static_cast<float>(sum.position[axis] / count));
    if (!from.colours.empty()) to.colours.push_back(static_cast<uint8_t>(sum.colour[axis] / count + 0.5));
  }
  if (!from.intensity.empty()) to.intensity.push_back(static_cast<float>(sum.intensity / count));
  if (!from.labels.empty()) to.labels.push_back(from.labels[static_cast<size_t>(sum.first)]);
}

}  // namespace

PointCloud voxel_grid(const PointCloud& cloud, double side) {
  if (!(side >= kSmallestSide) || !std::isfinite(side)) {
    throw InvalidArgument({.where = "side of a voxel", .what = "out of range", .expected = "1e-30 or more", .got = std::to_string(side)});
  }
  std::unordered_map<Cube, size_t, CubeHash> places;
  std::vector<Sum> sums;
  for (int64_t i = 0; i < cloud.size(); ++i) {
    Cube cube{};
    for (size_t axis = 0; axis < 3; ++axis) {
      cube.at[axis] = std::floor(cloud.points[static_cast<size_t>(3 * i) + axis] / side) + 0.0;  // -0 becomes 0, which has other bits
    }
    const auto [place, fresh] = places.try_emplace(cube, sums.size());
    if (fresh) sums.emplace_back();
    add_point(cloud, i, sums[place->second]);
  }
  PointCloud thinned = take_points(cloud, {});
  for (const auto& sum : sums) add_mean(cloud, sum, thinned);
  return thinned;
}

PointCloud farthest_points(const PointCloud& cloud, int64_t count) {
  expect_count(count);
  if (cloud.size() <= count) return cloud;
  const auto points = static_cast<size_t>(cloud.size());
  const auto mean = mean_of(cloud);
  std::array<float, 3> from = {static_cast<float>(mean[0]), static_cast<float>(mean[1]), static_cast<float>(mean[2])};
  std::vector<float> nearest(points, std::numeric_limits<float>::infinity());
  std::vector<int64_t> chosen;
  while (static_cast<int64_t>(chosen.size()) < count) {
    size_t farthest = 0;
    for (size_t i = 0; i < points; ++i) {
      const float x = cloud.points[3 * i] - from[0], y = cloud.points[3 * i + 1] - from[1], z = cloud.points[3 * i + 2] - from[2];
      nearest[i] = std::min(nearest[i], x * x + y * y + z * z);
      if (nearest[i] > nearest[farthest]) farthest = i;
    }
    // The mean itself is no point of the result, so its distances count for the first choice only.
    if (chosen.empty()) std::fill(nearest.begin(), nearest.end(), std::numeric_limits<float>::infinity());
    std::copy_n(cloud.points.begin() + static_cast<int64_t>(3 * farthest), 3, from.begin());
    chosen.push_back(static_cast<int64_t>(farthest));
    nearest[farthest] = -1;  // never again, even among points that fall together
  }
  return take_points(cloud, chosen);
}

PointCloud random_points(const PointCloud& cloud, int64_t count, uint64_t seed) {
  expect_count(count);
  if (cloud.size() <= count) return cloud;
  auto order = shuffled_indices(cloud.size(), RandomStream(seed, "points of a cloud"));
  order.resize(static_cast<size_t>(count));
  std::sort(order.begin(), order.end());
  return take_points(cloud, order);
}

PointCloud repeated_to(const PointCloud& cloud, int64_t count) {
  expect_count(count);
  if (cloud.size() == 0) throw InvalidArgument({.where = cloud.source, .what = "an empty cloud cannot be repeated"});
  std::vector<int64_t> indices(static_cast<size_t>(std::max(count, cloud.size())));
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<int64_t>(i) % cloud.size();
  return take_points(cloud, indices);
}

PointCloud unit_sphere(PointCloud cloud) {
  const auto mean = mean_of(cloud);
  double farthest = 0;
  for (size_t i = 0; i < cloud.points.size(); i += 3) {
    double square = 0;
    for (size_t axis = 0; axis < 3; ++axis) square += std::pow(cloud.points[i + axis] - mean[axis], 2);
    farthest = std::max(farthest, square);
  }
  const double scale = farthest > 0 ? 1 / std::sqrt(farthest) : 0;
  for (size_t i = 0; i < cloud.points.size(); ++i) cloud.points[i] = static_cast<float>((cloud.points[i] - mean[i % 3]) * scale);
  cloud.origin = {};
  return cloud;
}

}  // namespace graft::data
