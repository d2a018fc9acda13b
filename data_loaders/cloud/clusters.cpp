#include "data_loaders/cloud/clusters.h"

#include <pcl/console/print.h>
#include <pcl/filters/statistical_outlier_removal.h>
#include <pcl/point_types.h>
#include <pcl/search/kdtree.h>
#include <pcl/segmentation/extract_clusters.h>
#include <pcl/segmentation/sac_segmentation.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/base/error.h"

namespace graft::data {
namespace {

using PclCloud = pcl::PointCloud<pcl::PointXYZ>;

void expect(bool good, const char* where, const char* expected, double got) {
  if (!good) throw InvalidArgument({.where = where, .what = "out of range", .expected = expected, .got = std::to_string(got)});
}

PclCloud::Ptr pcl_cloud(const PointCloud& cloud) {
  PclCloud::Ptr made(new PclCloud);
  made->reserve(static_cast<size_t>(cloud.size()));
  for (size_t i = 0; i < cloud.points.size(); i += 3) made->push_back({cloud.points[i], cloud.points[i + 1], cloud.points[i + 2]});
  return made;
}

std::vector<int64_t> sorted(const pcl::Indices& indices) {
  std::vector<int64_t> wide(indices.begin(), indices.end());
  std::sort(wide.begin(), wide.end());
  return wide;
}

std::vector<int64_t> all_but(const std::vector<int64_t>& some, int64_t count) {
  std::vector<int64_t> rest;
  auto next = some.begin();
  for (int64_t i = 0; i < count; ++i) {
    if (next != some.end() && *next == i)
      ++next;
    else
      rest.push_back(i);
  }
  return rest;
}

CloudCluster cluster_of(const PointCloud& scene, const std::vector<int64_t>& indices, size_t number) {
  CloudCluster cluster{.cloud = take_points(scene, indices)};
  cluster.cloud.source = scene.source + "#cluster" + std::to_string(number);
  cluster.low = cluster.high = cluster.cloud.position(0);
  for (int64_t i = 1; i < cluster.cloud.size(); ++i) {
    const auto position = cluster.cloud.position(i);
    for (size_t axis = 0; axis < 3; ++axis) {
      cluster.low[axis] = std::min(cluster.low[axis], position[axis]);
      cluster.high[axis] = std::max(cluster.high[axis], position[axis]);
    }
  }
  return cluster;
}

}  // namespace

PointCloud without_outliers(const PointCloud& cloud, const OutlierSettings& settings) {
  expect(settings.neighbours >= 1 && settings.neighbours <= 10000, "neighbours", "1..10000", static_cast<double>(settings.neighbours));
  expect(settings.deviations >= 0 && std::isfinite(settings.deviations), "deviations", "0 or more", settings.deviations);
  if (cloud.size() <= settings.neighbours) return cloud;
  pcl::StatisticalOutlierRemoval<pcl::PointXYZ> filter;
  filter.setInputCloud(pcl_cloud(cloud));
  filter.setMeanK(static_cast<int>(settings.neighbours));
  filter.setStddevMulThresh(settings.deviations);
  pcl::Indices kept;
  filter.filter(kept);
  return take_points(cloud, sorted(kept));
}

GroundSplit split_ground(const PointCloud& cloud, const GroundSettings& settings) {
  expect(settings.thickness > 0 && std::isfinite(settings.thickness), "thickness of the ground", "above 0", settings.thickness);
  expect(settings.most_slope > 0 && settings.most_slope < 90, "slope of the ground", "between 0 and 90", settings.most_slope);
  expect(settings.least_share >= 0 && settings.least_share <= 1, "share of the ground", "0..1", settings.least_share);
  expect(settings.tries >= 1 && settings.tries <= 1'000'000, "tries for the ground", "1..1000000", static_cast<double>(settings.tries));
  GroundSplit split{.objects = cloud, .ground = take_points(cloud, {})};
  if (cloud.size() < 3) return split;
  const auto before = pcl::console::getVerbosityLevel();
  pcl::console::setVerbosityLevel(pcl::console::L_ALWAYS);  // "no plane found" is an answer here, not a message
  pcl::SACSegmentation<pcl::PointXYZ> segmentation;
  segmentation.setModelType(pcl::SACMODEL_PERPENDICULAR_PLANE);
  segmentation.setMethodType(pcl::SAC_RANSAC);
  segmentation.setAxis(Eigen::Vector3f::UnitZ());
  segmentation.setEpsAngle(settings.most_slope * std::numbers::pi / 180);
  segmentation.setDistanceThreshold(settings.thickness);
  segmentation.setMaxIterations(static_cast<int>(settings.tries));
  segmentation.setInputCloud(pcl_cloud(cloud));
  pcl::PointIndices inliers;
  pcl::ModelCoefficients plane;
  segmentation.segment(inliers, plane);
  pcl::console::setVerbosityLevel(before);
  const double least = std::max(3.0, settings.least_share * static_cast<double>(cloud.size()));
  if (plane.values.size() != 4 || static_cast<double>(inliers.indices.size()) < least) return split;
  const auto ground = sorted(inliers.indices);
  split.ground = take_points(cloud, ground);
  split.objects = take_points(cloud, all_but(ground, cloud.size()));
  const double sign = plane.values[2] < 0 ? -1 : 1;
  for (size_t i = 0; i < 4; ++i) split.plane[i] = sign * plane.values[i];
  for (size_t i = 0; i < 3; ++i) split.plane[3] -= split.plane[i] * cloud.origin[i];
  return split;
}

std::vector<CloudCluster> euclidean_clusters(const PointCloud& cloud, const ClusterSettings& settings) {
  expect(settings.distance > 0 && std::isfinite(settings.distance), "distance of clusters", "above 0", settings.distance);
  expect(settings.least_points >= 1, "least points of a cluster", "1 or more", static_cast<double>(settings.least_points));
  expect(settings.most_points >= settings.least_points && settings.most_points <= 2'000'000'000, "most points of a cluster",
         "least points..2000000000", static_cast<double>(settings.most_points));
  if (cloud.size() == 0) return {};
  const auto points = pcl_cloud(cloud);
  pcl::search::KdTree<pcl::PointXYZ>::Ptr tree(new pcl::search::KdTree<pcl::PointXYZ>);
  tree->setInputCloud(points);
  pcl::EuclideanClusterExtraction<pcl::PointXYZ> extraction;
  extraction.setClusterTolerance(settings.distance);
  extraction.setMinClusterSize(static_cast<int>(settings.least_points));
  extraction.setMaxClusterSize(static_cast<int>(settings.most_points));
  extraction.setSearchMethod(tree);
  extraction.setInputCloud(points);
  std::vector<pcl::PointIndices> found;
  extraction.extract(found);
  std::vector<std::vector<int64_t>> parts;
  for (const auto& part : found) parts.push_back(sorted(part.indices));
  std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.size() != b.size() ? a.size() > b.size() : a[0] < b[0]; });
  std::vector<CloudCluster> clusters;
  for (const auto& part : parts) clusters.push_back(cluster_of(cloud, part, clusters.size()));
  return clusters;
}

}  // namespace graft::data
