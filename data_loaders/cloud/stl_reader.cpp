#include <open3d/geometry/TriangleMesh.h>
#include <open3d/io/TriangleMeshIO.h>
#include <open3d/utility/Logging.h>

#include "data_loaders/cloud/cloud_readers.h"
#include "data_loaders/cloud/stl_check.h"

namespace graft::data {
namespace {

Mesh mesh_of(const FileContent& file, const open3d::geometry::TriangleMesh& from) {
  Mesh mesh;
  const auto count = static_cast<int64_t>(from.vertices_.size());
  for (const auto& v : from.vertices_) mesh.vertices.insert(mesh.vertices.end(), {v.x(), v.y(), v.z()});
  for (const auto& t : from.triangles_) {
    for (int corner = 0; corner < 3; ++corner) {
      if (t[corner] < 0 || t[corner] >= count)
        refuse(file, "a triangle names no vertex", "0.." + std::to_string(count - 1), std::to_string(t[corner]));
    }
    mesh.triangles.push_back({t[0], t[1], t[2]});
  }
  return mesh;
}

/// Open3D's messages go to the standard output otherwise, where results belong.
class QuietOpen3d {
 public:
  QuietOpen3d() : before_(open3d::utility::GetVerbosityLevel()) { open3d::utility::SetVerbosityLevel(open3d::utility::VerbosityLevel::Error); }
  ~QuietOpen3d() { open3d::utility::SetVerbosityLevel(before_); }
  QuietOpen3d(const QuietOpen3d&) = delete;
  QuietOpen3d& operator=(const QuietOpen3d&) = delete;

 private:
  open3d::utility::VerbosityLevel before_;
};

}  // namespace

PointCloud read_stl(const FileContent& file, const ReadOptions& options) {
  check_stl(file);
  const QuietOpen3d quiet;
  open3d::geometry::TriangleMesh mesh;
  bool read = false;
  try {
    read = open3d::io::ReadTriangleMeshUsingASSIMP(file.path.string(), mesh, {});
  } catch (const std::exception& problem) {
    refuse(file, std::string("Open3D could not read it: ") + problem.what());
  }
  if (!read) refuse(file, "Open3D could not read it");
  return cloud_of_mesh(mesh_of(file, mesh), file.name, options);
}

}  // namespace graft::data
