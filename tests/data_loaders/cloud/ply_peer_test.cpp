// Our PLY reader beside Open3D's. Built where Open3D is.
#include <gtest/gtest.h>
#include <open3d/geometry/PointCloud.h>
#include <open3d/io/PointCloudIO.h>
#include <open3d/utility/Logging.h>

#include "data_loaders/cloud/read_cloud.h"
#include "tests/support/shared_data.h"

namespace graft::testing {
namespace {

TEST(PlyPeer, TheSamePointsAndColoursAsOpen3d) {
  const auto folder = shared_dir() / "data" / "pointcloud";
  GRAFT_SKIP_UNLESS_EXISTS(folder);
  open3d::utility::SetVerbosityLevel(open3d::utility::VerbosityLevel::Error);
  int compared = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".ply") continue;
    open3d::geometry::PointCloud theirs;
    if (!open3d::io::ReadPointCloud(entry.path().string(), theirs) || theirs.points_.empty()) continue;
    const auto ours = data::read_cloud({entry.path()});
    if (!ours.notes.empty()) continue;  // a mesh; its points are drawn
    ASSERT_EQ(ours.size(), static_cast<int64_t>(theirs.points_.size())) << entry.path();
    for (int64_t i = 0; i < ours.size(); ++i) {
      for (size_t axis = 0; axis < 3; ++axis)
        ASSERT_EQ(ours.points[static_cast<size_t>(3 * i) + axis], static_cast<float>(theirs.points_[static_cast<size_t>(i)][static_cast<int>(axis)]))
            << entry.path();
      for (size_t c = 0; theirs.HasColors() && c < 3; ++c) {
        ASSERT_NEAR(ours.colours[static_cast<size_t>(3 * i) + c], theirs.colors_[static_cast<size_t>(i)][static_cast<int>(c)] * 255, 1e-9)
            << entry.path();
      }
    }
    ++compared;
  }
  EXPECT_GT(compared, 500);
}

}  // namespace
}  // namespace graft::testing
