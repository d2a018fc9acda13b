#pragma once

#include <string>
#include <vector>

#include "data_loaders/cloud/clusters.h"
#include "data_loaders/cloud/point_cloud.h"

namespace graft::data {

/// What is done to every cloud before it is looked at, in this order; a 0 leaves a step out.
struct PreparationSettings {
  std::string up = "auto";  ///< x, y, z, or auto: see detect_up_axis()
  double voxel = 0;
  int64_t outlier_neighbours = 0;
  double outlier_deviations = 2;
  int64_t farthest = 0;
  int64_t random = 0;
  bool unit_sphere = false;

  template <class V>
  void visit(V& v) {
    v("up", up, "axis of the files that is up: x, y, z, or auto");
    v("voxel", voxel, "one point for each cube of this side, in the files' unit; 0: off");
    v("outlier_neighbours", outlier_neighbours, "drop points far from this many neighbours (needs PCL); 0: off");
    v("outlier_deviations", outlier_deviations, "how far, in standard deviations");
    v("farthest", farthest, "keep this many points, each far from the others; 0: off");
    v("random", random, "keep this many points, drawn at random; 0: off");
    v("unit_sphere", unit_sphere, "centre and scale to radius 1");
  }
};

/// The cloud with `up` as z, thinned and cleaned as the settings say. The same points for the same seed.
/// Throws   InvalidArgument for settings out of range, Unavailable where a step needs PCL and there is none.
PointCloud prepared(PointCloud cloud, UpAxis up, const PreparationSettings& settings, uint64_t seed);

/// Cuts a scene with z up into its objects: ground off, then connected parts. See clusters.h.
std::vector<CloudCluster> objects_of_scene(const PointCloud& scene, const GroundSettings& ground, const ClusterSettings& clusters);

}  // namespace graft::data
