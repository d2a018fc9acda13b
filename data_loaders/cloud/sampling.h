#pragma once

#include "data_loaders/cloud/point_cloud.h"

namespace graft::data {

/// One point for each cube of side `side` that holds any: the mean of its points; colour and intensity likewise, label of the cube's first.
/// In the order of the cubes' first points. Throws InvalidArgument unless side is finite and 1e-30 or more.
PointCloud voxel_grid(const PointCloud& cloud, double side);

/// `count` points of which each is the farthest from those before it. The first is the farthest from the mean; of equals the earlier.
/// All points, in order, where there are not more. O(count * points). Throws InvalidArgument unless count > 0.
/// Source: Eldar et al. 1997.
PointCloud farthest_points(const PointCloud& cloud, int64_t count);

/// `count` points drawn without replacement, in the cloud's order, the same ones for the same seed; all where there are not more.
PointCloud random_points(const PointCloud& cloud, int64_t count, uint64_t seed);

/// Exactly `count` points where there are fewer: the cloud's, again and again from the front. A network of fixed width needs it; the picture
/// of a cloud does not change by it. Throws InvalidArgument for an empty cloud.
PointCloud repeated_to(const PointCloud& cloud, int64_t count);

/// Mean in the origin, farthest point at distance 1; points that fall together lie in the origin. The origin field becomes 0.
PointCloud unit_sphere(PointCloud cloud);

}  // namespace graft::data
