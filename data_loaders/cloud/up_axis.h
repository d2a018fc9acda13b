#pragma once

#include <span>
#include <string>

#include "data_loaders/cloud/point_cloud.h"

namespace graft::data {

/// A decision and its reason, for a report.
struct UpAxisFinding {
  UpAxis axis = UpAxis::kZ;
  std::string why;
  std::array<double, 3> evidence{};  ///< of x, y, z: mean over the clouds, see detect_up_axis()
};

/// Which axis is up in clouds that come from one source.
///
/// Things differ at top and bottom more than between their sides: a tree has its crown above, a scanner sees roofs and not floors. For each
/// axis, the points are counted in ten slabs and compared with the mirror image. z where the best axis leads the next by less than a tenth.
/// Clouds whose format fixes the axis (LAS) decide alone. One object is weak evidence; give as many as there are.
UpAxisFinding detect_up_axis(std::span<const PointCloud> clouds);

/// Turns the cloud so that its `up` axis becomes z, without mirroring: y up: (x, y, z) -> (x, -z, y); x up: (x, y, z) -> (-z, y, x).
/// The cloud's origin turns with it. Throws InvalidArgument if `up` is unknown.
PointCloud with_z_up(PointCloud cloud, UpAxis up);

}  // namespace graft::data
