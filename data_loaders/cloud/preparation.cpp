#include "data_loaders/cloud/preparation.h"

#include "data_loaders/cloud/sampling.h"
#include "data_loaders/cloud/up_axis.h"

namespace graft::data {

PointCloud prepared(PointCloud cloud, UpAxis up, const PreparationSettings& settings, uint64_t seed) {
  cloud = with_z_up(std::move(cloud), up);
  if (settings.voxel != 0) cloud = voxel_grid(cloud, settings.voxel);
  if (settings.outlier_neighbours != 0) cloud = without_outliers(cloud, {settings.outlier_neighbours, settings.outlier_deviations});
  if (settings.farthest != 0) cloud = farthest_points(cloud, settings.farthest);
  if (settings.random != 0) cloud = random_points(cloud, settings.random, seed);
  return settings.unit_sphere ? unit_sphere(std::move(cloud)) : cloud;
}

std::vector<CloudCluster> objects_of_scene(const PointCloud& scene, const GroundSettings& ground, const ClusterSettings& clusters) {
  return euclidean_clusters(split_ground(scene, ground).objects, clusters);
}

}  // namespace graft::data
