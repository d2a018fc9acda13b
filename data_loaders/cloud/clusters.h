#pragma once

#include <vector>

#include "data_loaders/cloud/point_cloud.h"

namespace graft::data {

// What needs neighbours or planes is done with PCL; without it these throw Unavailable.

struct OutlierSettings {
  int64_t neighbours = 16;
  double deviations = 2;  ///< a point goes whose mean distance to its neighbours is above mean + this many standard deviations
};

/// Statistical outlier removal. A cloud of no more points than neighbours is returned as it is. Throws InvalidArgument for settings out of range.
PointCloud without_outliers(const PointCloud& cloud, const OutlierSettings& settings = {});

struct GroundSettings {
  double thickness = 0.2;     ///< distance from the plane up to which a point is ground, in the cloud's unit
  double most_slope = 20;     ///< degrees between the plane's normal and z
  double least_share = 0.05;  ///< of all points; a smaller plane is no ground
  int64_t tries = 1000;       ///< of RANSAC, which draws the same planes run after run
};

struct GroundSplit {
  PointCloud objects, ground;     ///< ground is empty where no plane was found
  std::array<double, 4> plane{};  ///< a x + b y + c z + d = 0 in absolute coordinates, c > 0; zeros without ground
};

/// Finds the largest level plane of a cloud with z up, by RANSAC. Points below it by more than its thickness stay with the objects.
GroundSplit split_ground(const PointCloud& cloud, const GroundSettings& settings = {});

struct ClusterSettings {
  double distance = 0.5;  ///< points nearer than this belong together, in the cloud's unit
  int64_t least_points = 30;
  int64_t most_points = 1'000'000;
};

struct CloudCluster {
  PointCloud cloud;                     ///< its points, in the scene's order; source has "#cluster3" behind
  std::array<double, 3> low{}, high{};  ///< box along the axes, absolute coordinates
};

/// Euclidean clustering: the connected parts of a scene, the largest first, of equals the one with the earlier point.
std::vector<CloudCluster> euclidean_clusters(const PointCloud& cloud, const ClusterSettings& settings = {});

}  // namespace graft::data
