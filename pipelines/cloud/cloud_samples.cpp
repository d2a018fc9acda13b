#include "pipelines/cloud/cloud_samples.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <numbers>

#include "data_loaders/cloud/sampling.h"
#include "data_loaders/cloud/up_axis.h"
#include "kernels/base/error.h"
#include "peft_core/base/rng.h"
#include "pipelines/cloud/cloud_views.h"
#include "pipelines/cloud/shapes/shapes.h"

namespace graft::pipelines {
namespace {

constexpr int64_t kMostPoints = 2048;  // of a cloud in memory; the views' grid has room for no more detail
constexpr double kJitter = 0.01, kLargestJitter = 0.05;

/// Box and Muller.
double gaussian(RandomStream& draw) {
  const double radius = std::sqrt(-2 * std::log(1 - draw.uniform()));
  return radius * std::cos(2 * std::numbers::pi * draw.uniform());
}

data::PointCloud augmented(data::PointCloud cloud, double scanned, uint64_t seed) {
  RandomStream draw(seed, "augmentation");
  const double angle = 2 * std::numbers::pi * draw.uniform(), cosine = std::cos(angle), sine = std::sin(angle);
  for (size_t i = 0; i < cloud.points.size(); i += 3) {
    const double x = cloud.points[i], y = cloud.points[i + 1], z = cloud.points[i + 2];
    const double turned[3] = {cosine * x - sine * y, sine * x + cosine * y, z};
    for (size_t axis = 0; axis < 3; ++axis)
      cloud.points[i + axis] = static_cast<float>(turned[axis] + std::clamp(kJitter * gaussian(draw), -kLargestJitter, kLargestJitter));
  }
  return scanned > 0 && draw.uniform() < scanned ? as_scanned(std::move(cloud), draw.next()) : cloud;
}

}  // namespace

CloudSet read_clouds(const std::vector<data::CloudFile>& files, const data::PreparationSettings& preparation, uint64_t seed) {
  if (files.empty()) throw InvalidArgument({.where = "data", .what = "holds no clouds"});
  CloudSet set;
  for (const auto& file : files) set.clouds.push_back(data::read_cloud(file, {.seed = seed}));
  auto up = data::up_axis_named(preparation.up);
  set.up = name_of(up);
  if (up == data::UpAxis::kUnknown) {
    const auto found = data::detect_up_axis(set.clouds);
    up = found.axis;
    set.up = std::string(name_of(up)) + " (" + found.why + ")";
  }
  for (auto& cloud : set.clouds)
    cloud = data::unit_sphere(data::random_points(data::prepared(std::move(cloud), up, preparation, seed), kMostPoints, seed));
  return set;
}

CloudSet read_clouds(const data::LabelledClouds& listed, const data::PreparationSettings& preparation, uint64_t seed) {
  auto set = read_clouds(listed.files, preparation, seed);
  set.labels = listed.labels;
  set.classes = listed.classes;
  return set;
}

at::Tensor points_of(std::span<const data::PointCloud> clouds, int64_t count, uint64_t seed) {
  const auto points = at::empty({static_cast<int64_t>(clouds.size()), count, 3}, at::kFloat);
  float* out = points.mutable_data_ptr<float>();
  for (const auto& cloud : clouds) {
    const auto drawn = data::repeated_to(data::random_points(cloud, count, seed), count);
    out = std::copy(drawn.points.begin(), drawn.points.end(), out);
  }
  return points;
}

std::vector<int64_t> balanced(const std::vector<int64_t>& labels) {
  std::map<int64_t, std::vector<int64_t>> of_class;
  for (size_t i = 0; i < labels.size(); ++i) of_class[labels[i]].push_back(static_cast<int64_t>(i));
  size_t most = 0;
  for (const auto& [label, members] : of_class) most = std::max(most, members.size());
  std::vector<int64_t> order(labels.size());
  std::iota(order.begin(), order.end(), 0);
  for (const auto& [label, members] : of_class)
    for (size_t i = members.size(); i < most; ++i) order.push_back(members[i % members.size()]);
  return order;
}

CloudBatch cloud_batch(const CloudSet& set, std::span<const int64_t> indices, const BatchOptions& options) {
  std::vector<data::PointCloud> clouds;
  std::vector<int64_t> labels;
  for (const auto index : indices) {
    const auto at = static_cast<size_t>(index);
    const auto seed = stream_seed(options.seed, "cloud", static_cast<uint64_t>(clouds.size()));
    clouds.push_back(options.augment ? augmented(set.clouds[at], options.scanned, seed) : set.clouds[at]);
    if (!set.labels.empty()) labels.push_back(set.labels[at]);
  }
  CloudBatch batch;
  batch.views = draw_views(clouds, options.side, options.projection);
  if (options.points > 0) batch.points = points_of(clouds, options.points, options.seed);
  if (!set.labels.empty()) batch.labels = at::tensor(labels, at::kLong);
  return batch;
}

}  // namespace graft::pipelines
