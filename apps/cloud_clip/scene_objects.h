#pragma once

#include "apps/cloud_clip/zero_shot_settings.h"
#include "data_loaders/cloud/clusters.h"

namespace graft::apps::cloud {

/// The objects of a scene, and which points of the scene belong to which.
struct SceneObjects {
  std::vector<data::PointCloud> objects;  ///< the largest first
  std::vector<int64_t> object_of_point;   ///< -1: ground, or too small a part
  int64_t ground_points = 0;
};

/// Ground off, then connected parts. `scene` has z up. Throws what clusters.h throws.
SceneObjects objects_of(const data::PointCloud& scene, const SceneConfig& config);

/// Corners of the box along the axes that holds a cloud, absolute: low x, y, z, high x, y, z.
std::array<double, 6> box_of(const data::PointCloud& cloud);

}  // namespace graft::apps::cloud
