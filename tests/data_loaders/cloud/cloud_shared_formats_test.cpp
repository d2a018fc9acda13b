#include <gmock/gmock.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "data_loaders/cloud/cloud_folder.h"
#include "data_loaders/cloud/up_axis.h"
#include "kernels/base/error.h"
#include "tests/data_loaders/cloud/cloud_samples.h"
#include "tests/support/shared_data.h"

namespace graft::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

fs::path clouds_dir() { return shared_dir() / "data" / "pointcloud"; }

/// What the files must give: points read (0: refused) where another program or the manifest says so.
const std::map<std::string, int64_t> kKnown = {{"lidar-frames/kitti_000008.bin", 17238},
                                               {"lidar-frames/kitti_odometry_000000.bin", 123389},
                                               {"lidar-frames/nuscenes_LIDAR_TOP_1532402927647951.pcd.bin", 34688},
                                               {"lidar-frames/kitti_gt_Pedestrian_0.bin", 377},
                                               {"laspy/simple.las", 1065},
                                               {"laspy/simple1_1.las", 1065},
                                               {"laspy/vegetation_1_3.las", 10683},
                                               {"pcl/bun0.pcd", 397},
                                               {"pcl/car6.pcd", 10031},
                                               {"pcl/colored_cloud.pcd", 1000},
                                               {"pyntcloud/diamond.bin", 6},
                                               {"pyntcloud/diamond.npy", 6},
                                               {"pyntcloud/diamond.npz", 6},
                                               {"pyntcloud/diamond.las", 6},
                                               {"pyntcloud/diamond.xyz", 6},
                                               {"modelnet40_flower_pot.ply", 2048},
                                               {"modelnet40_flower_pot.pcd", 2048},
                                               {"modelnet_chair.off", 2048},
                                               {"trimesh/emptyIO/ply_empty_ascii.ply", 0},
                                               {"trimesh/emptyIO/ply_empty_bin.ply", 0},
                                               {"trimesh/emptyIO/ply_empty_header.ply", 0},
                                               {"trimesh/emptyIO/ply_points_ascii.ply", 8},
                                               {"trimesh/points_emptyface.ply", 1024},
                                               {"trimesh/points_ascii_with_lists.ply", 5},
                                               {"laspy/simple.laz", 0},
                                               {"laspy/simple.copc.laz", 0},
                                               {"trimesh/cubevt.obj", 2048},
                                               {"trimesh/polygonfaces.obj", 2048},
                                               {"trimesh/emptyIO/obj_points.obj", 8}};

/// Every refusal has to be one of these; another one would be a file that ought to be read.
bool is_expected_refusal(const std::string& line) {
  const std::vector<std::string> known = {
      "compressed LAS", "holds no points",           "no list of points", "none of its arrays", "not a kind of point cloud",
      "not a number",   "another number of columns", "needs the library"};
  return std::any_of(known.begin(), known.end(), [&](const auto& words) { return line.find(words) != std::string::npos; });
}

std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

TEST(SharedClouds, EveryFormatIsReadOrRefusedWithAReason) {
  const auto folder = clouds_dir() / "formats";
  GRAFT_SKIP_UNLESS_EXISTS(folder);
  int64_t read = 0, refused = 0;
  for (const auto& file : files_below(folder)) {
    const auto name = fs::relative(file, folder).string();
    int64_t points = 0;
    std::string said;
    try {
      const auto cloud = data::read_cloud({file});
      points = cloud.size();
      said = std::to_string(points) + " points" + (cloud.dropped > 0 ? ", " + std::to_string(cloud.dropped) + " dropped" : "") +
             (cloud.colours.empty() ? "" : ", colours") + (cloud.labels.empty() ? "" : ", labels") + (cloud.intensity.empty() ? "" : ", intensity") +
             (cloud.notes.empty() ? "" : " (" + cloud.notes[0] + ")");
      ++read;
    } catch (const Error& error) {
      said = "refused: " + std::string(error.what());
      ++refused;
      EXPECT_TRUE(is_expected_refusal(said)) << said;
      if (said.find("needs the library") != std::string::npos) points = -1;
    }
    std::printf("  %-62s %s\n", name.c_str(), said.c_str());
    const auto known = kKnown.find(name);
    if (known != kKnown.end() && points >= 0) {
      EXPECT_EQ(points, known->second) << name;
    }
  }
  std::printf("  %ld read, %ld refused\n", static_cast<long>(read), static_cast<long>(refused));
  EXPECT_GE(read + refused, 90);
}

TEST(SharedClouds, TheSameObjectInTwoFormats) {
  const auto folder = clouds_dir() / "formats";
  GRAFT_SKIP_UNLESS_EXISTS(folder);
  const auto ply = data::read_cloud({folder / "modelnet40_flower_pot.ply"});
  const auto diamond = data::read_cloud({folder / "pyntcloud" / "diamond.npy"});
  for (const char* name : {"diamond.xyz", "diamond.npz"}) EXPECT_EQ(data::read_cloud({folder / "pyntcloud" / name}).points, diamond.points) << name;
  const auto las = data::read_cloud({folder / "pyntcloud" / "diamond.las"});
  for (size_t i = 0; i < diamond.points.size(); ++i) EXPECT_NEAR(las.points[i], diamond.points[i], 0.01);  // its scale is 0.01
  try {
    EXPECT_EQ(data::read_cloud({folder / "modelnet40_flower_pot.pcd"}).points, ply.points);
  } catch (const Unavailable& missing) {
    GTEST_SKIP() << missing.what();
  }
}

TEST(SharedClouds, LabelledFolders) {
  GRAFT_SKIP_UNLESS_EXISTS(clouds_dir() / "real-dales");
  for (const auto& [name, count] : {std::pair("cad-urban", 141), std::pair("real-dales", 349)}) {
    const auto clouds = data::labelled_clouds(clouds_dir() / name);
    EXPECT_EQ(clouds.size(), count) << name;
    EXPECT_THAT(clouds.classes, ::testing::ElementsAre("building", "car", "fence", "pole", "tree"));
    EXPECT_GE(static_cast<int64_t>(data::unlabelled_clouds(clouds_dir() / name).size()), count);
  }
  const auto bim = data::labelled_clouds(clouds_dir() / "bimnet10", {.split = "train"});
  EXPECT_EQ(bim.size(), 165);
  EXPECT_EQ(std::count(bim.labels.begin(), bim.labels.end(), 4), 29);
}

TEST(SharedClouds, UpAxisOfFoldersIsFound) {
  GRAFT_SKIP_UNLESS_EXISTS(clouds_dir() / "real-dales");
  for (const char* name : {"cad-urban", "cad-indoor", "real-dales"}) {
    std::vector<data::PointCloud> clouds;
    for (const auto& file : data::labelled_clouds(clouds_dir() / name).files) clouds.push_back(data::read_cloud(file));
    const auto finding = data::detect_up_axis(clouds);
    EXPECT_EQ(finding.axis, data::UpAxis::kZ) << name << ": " << finding.why;
    int64_t alone = 0;
    for (const auto& cloud : clouds) alone += data::detect_up_axis({&cloud, 1}).axis == data::UpAxis::kZ;
    // The same clouds with y up, as other makers deliver them.
    for (auto& cloud : clouds) {
      for (size_t i = 0; i < cloud.points.size(); i += 3) {
        std::swap(cloud.points[i + 1], cloud.points[i + 2]);
        cloud.points[i + 2] *= -1;
      }
    }
    EXPECT_EQ(data::detect_up_axis(clouds).axis, data::UpAxis::kY) << name;
    std::printf("  %-12s %s; alone %ld of %zu are right\n", name, finding.why.c_str(), static_cast<long>(alone), clouds.size());
  }
}

}  // namespace
}  // namespace graft::testing
