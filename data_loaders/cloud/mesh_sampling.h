#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data_loaders/cloud/point_cloud.h"

namespace graft::data {

struct ReadOptions;

struct Mesh {
  std::vector<double> vertices;                   ///< (v, 3)
  std::vector<uint8_t> colours;                   ///< (v, 3) or empty
  std::vector<std::array<int64_t, 3>> triangles;  ///< indices of vertices, all within
};

/// `options.mesh_points` points of the surface, each area as likely as another; the same ones for the same seed. A colour is that of the
/// nearest corner. A mesh without triangles, or whose triangles have no area, gives its vertices. Triangles with a corner that is no
/// number are left out.
/// Throws   IoError if there are no vertices.
PointCloud cloud_of_mesh(Mesh mesh, const std::string& source, const ReadOptions& options);

/// Cuts a polygon into triangles around its first corner; fewer than three corners give none.
void add_polygon(Mesh& mesh, const std::vector<int64_t>& corners);

}  // namespace graft::data
