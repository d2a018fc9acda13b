#include "apps/cloud_clip/scene_objects.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace graft::apps::cloud {
namespace {

/// A point's place in the file, bit by bit. Clusters keep the scene's points and origin as they are.
std::string key_of(const data::PointCloud& cloud, int64_t i) {
  return {reinterpret_cast<const char*>(&cloud.points[static_cast<size_t>(3 * i)]), 3 * sizeof(float)};
}

}  // namespace

SceneObjects objects_of(const data::PointCloud& scene, const SceneConfig& config) {
  auto split = config.ground ? data::split_ground(scene, {.thickness = config.ground_thickness, .most_slope = config.ground_slope})
                             : data::GroundSplit{.objects = scene, .ground = {}, .plane = {}};
  SceneObjects found;
  found.ground_points = split.ground.size();
  std::unordered_map<std::string, int64_t> object_at;
  if (split.objects.size() > 0) {
    for (auto& cluster : data::euclidean_clusters(split.objects, {.distance = config.distance, .least_points = config.least_points, .most_points = config.most_points})) {
      for (int64_t i = 0; i < cluster.cloud.size(); ++i) object_at.emplace(key_of(cluster.cloud, i), static_cast<int64_t>(found.objects.size()));
      found.objects.push_back(std::move(cluster.cloud));
    }
  }
  for (int64_t i = 0; i < scene.size(); ++i) {
    const auto at = object_at.find(key_of(scene, i));
    found.object_of_point.push_back(at == object_at.end() ? -1 : at->second);
  }
  return found;
}

std::array<double, 6> box_of(const data::PointCloud& cloud) {
  std::array<double, 6> box{};
  for (int64_t i = 0; i < cloud.size(); ++i) {
    const auto at = cloud.position(i);
    for (size_t axis = 0; axis < 3; ++axis) {
      box[axis] = i == 0 ? at[axis] : std::min(box[axis], at[axis]);
      box[3 + axis] = i == 0 ? at[axis] : std::max(box[3 + axis], at[axis]);
    }
  }
  return box;
}

}  // namespace graft::apps::cloud
