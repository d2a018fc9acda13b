#include <gmock/gmock.h>

#include <cmath>

#include "kernels/base/error.h"
#include "tests/data_loaders/cloud/cloud_samples.h"
#include "tests/support/temp_dir.h"

namespace graft::testing {
namespace {

using data::PointCloud;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class CloudReaders : public ::testing::Test {
 protected:
  PointCloud read(const std::string& name, const std::string& bytes, const data::ReadOptions& options = {}) {
    return read_bytes(folder_ / name, bytes, options);
  }
  TempDir folder_;
};

void expect_box_with_attributes(const PointCloud& cloud) {
  EXPECT_THAT(cloud.points, ElementsAreArray(box_points()));
  EXPECT_THAT(cloud.labels, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(cloud.intensity, Each(0.5f));
  ASSERT_THAT(cloud.colours, SizeIs(24));
  EXPECT_THAT(std::vector<int>(cloud.colours.begin(), cloud.colours.begin() + 3), ElementsAre(16, 32, 48));
}

TEST_F(CloudReaders, PcdInItsThreeForms) {
  for (const auto& bytes : {pcd_text(), pcd_binary(), pcd_compressed()}) {
    try {
      expect_box_with_attributes(read("box.pcd", bytes));
    } catch (const Unavailable& missing) {
      EXPECT_THAT(missing.what(), HasSubstr("libpcl-dev"));
      GTEST_SKIP() << missing.what();
    }
  }
}

TEST_F(CloudReaders, PlyPointsWithAttributes) { expect_box_with_attributes(read("box.ply", ply_text())); }

TEST_F(CloudReaders, PlyMeshInBothOrdersGivesTheSamePointsOfItsSurface) {
  const auto little = read("little.ply", ply_binary(false), {.mesh_points = 300}), big = read("big.ply", ply_binary(true), {.mesh_points = 300});
  EXPECT_EQ(little.points, big.points);
  ASSERT_EQ(little.size(), 300);
  for (int64_t i = 0; i < 300; ++i) EXPECT_TRUE(little.position(i)[2] == 0 || little.position(i)[2] == 3);
}

TEST_F(CloudReaders, OffWithGluedHeaderIsSampledByArea) {
  const auto cloud = read("two.off", off_text(), {.mesh_points = 4000, .seed = 3});
  int64_t in_triangle = 0;
  for (int64_t i = 0; i < cloud.size(); ++i) {
    const auto p = cloud.position(i);
    const bool square = p[0] >= 0 && p[0] <= 1 && p[1] >= 0 && p[1] <= 1;
    const bool triangle = p[0] >= 10 && p[1] >= 0 && (p[0] - 10) / 2 + p[1] / 3 <= 1 + 1e-6;
    EXPECT_TRUE(square || triangle) << p[0] << " " << p[1];
    in_triangle += triangle;
  }
  // Areas 1 and 3: binomial with mean 3000 and deviation 27.4; five deviations.
  EXPECT_NEAR(static_cast<double>(in_triangle), 3000, 137);
  EXPECT_EQ(cloud.points, read("two.off", off_text(), {.mesh_points = 4000, .seed = 3}).points);
  EXPECT_NE(cloud.points, read("two.off", off_text(), {.mesh_points = 4000, .seed = 4}).points);
}

TEST_F(CloudReaders, OffWithoutFacesAndWithColours) {
  const auto cloud = read("points.off", "COFF\n2 0 0\n0 0 0 1 0 0.5 1\n1 2 3 0 1 0 1\n");
  EXPECT_THAT(cloud.points, ElementsAre(0, 0, 0, 1, 2, 3));
  EXPECT_THAT(std::vector<int>(cloud.colours.begin(), cloud.colours.end()), ElementsAre(255, 0, 128, 0, 255, 0));
}

TEST_F(CloudReaders, PlyLinesWithMoreThanTheHeaderSays) {
  auto text = ply_text();
  for (auto at = text.find(" 0.5\n"); at != std::string::npos; at = text.find(" 0.5\n", at + 5)) text.insert(at + 4, " 9 9");
  const auto cloud = read("more.ply", text);
  expect_box_with_attributes(cloud);
  EXPECT_THAT(cloud.notes, ElementsAre(HasSubstr("more numbers than its header names")));
}

TEST_F(CloudReaders, ObjMeshesAndPoints) {
  const auto square = read("square.obj", "mtllib none.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nf 1// 2/1 3/1/9 4 # corners\nf -4 -3 -2\n",
                           {.mesh_points = 50});
  ASSERT_EQ(square.size(), 50);
  for (int64_t i = 0; i < 50; ++i) EXPECT_TRUE(square.position(i)[2] == 0 && square.position(i)[0] >= 0 && square.position(i)[0] <= 1);
  EXPECT_THAT(square.colours, IsEmpty());
  const auto points = read("points.obj", "v 1 2 3 1 0 0.5\nv nan 0 0 0 0 0\nv 4 5 6 nan 0 1\n");
  EXPECT_THAT(points.points, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(points.colours, (std::vector<uint8_t>{255, 0, 128, 0, 0, 255}));
}

TEST_F(CloudReaders, StlInTextAndBinary) {
  const std::string text = "solid s\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\nendsolid s\n";
  const auto binary =
      std::string(80, ' ') + std::string("\1\0\0\0", 4) + bytes_of(std::vector<float>{0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0}) + std::string(2, '\0');
  try {
    for (const auto& bytes : {text, binary}) {
      const auto cloud = read("triangle.stl", bytes, {.mesh_points = 50});
      ASSERT_EQ(cloud.size(), 50);
      for (int64_t i = 0; i < 50; ++i)
        EXPECT_TRUE(cloud.position(i)[2] == 0 && cloud.position(i)[0] >= 0 && cloud.position(i)[0] + cloud.position(i)[1] <= 1.00001);
    }
  } catch (const Unavailable& missing) {
    EXPECT_THAT(missing.what(), HasSubstr("libopen3d-dev"));
    GTEST_SKIP() << missing.what();
  }
}

TEST_F(CloudReaders, LasOfAllVersionsAndPointFormats) {
  for (int format = 0; format <= 10; ++format) {
    const int least = format >= 6 ? 4 : format >= 4 ? 3 : format >= 2 ? 2 : 1;
    for (int minor = least; minor <= 4; ++minor) {
      SCOPED_TRACE("1." + std::to_string(minor) + " format " + std::to_string(format));
      const auto cloud = read("box.las", las_file({.minor = minor, .format = format, .extra_bytes = static_cast<size_t>(format % 3)}));
      ASSERT_EQ(cloud.size(), 8);
      EXPECT_EQ(cloud.up, data::UpAxis::kZ);
      const auto last = cloud.position(7);
      // int32 thousandths exactly; the float part is below 4: half a step of 2^-22.
      EXPECT_NEAR(last[0], 500001, 1e-6);
      EXPECT_NEAR(last[1], 5400002, 1e-6);
      EXPECT_NEAR(last[2], 103, 1e-6);
      EXPECT_THAT(cloud.labels, Each(format < 6 ? 5 : 200));
      EXPECT_FLOAT_EQ(cloud.intensity[7], 1007);
      const bool coloured = format == 2 || format == 3 || format == 5 || format == 7 || format == 8 || format == 10;
      ASSERT_THAT(cloud.colours, SizeIs(coloured ? 24 : 0));
      if (!coloured) continue;
      EXPECT_THAT(std::vector<int>(cloud.colours.begin(), cloud.colours.begin() + 3), ElementsAre(16, 32, 48));
    }
  }
}

TEST_F(CloudReaders, UtmCoordinatesKeepTheirMillimetres) {
  const auto cloud = read("utm.xyz", "500000.001 5400000.002 100.003\n500000.004 5400000.005 100.006\n");
  EXPECT_NE(cloud.origin[0], 0);
  EXPECT_EQ(cloud.origin[2], 0);
  EXPECT_NEAR(cloud.position(1)[0] - cloud.position(0)[0], 0.003, 1e-5);
  EXPECT_NEAR(cloud.position(1)[1], 5400000.005, 1e-5);
}

TEST_F(CloudReaders, TextsWithNamesSeparatorsAndColours) {
  const auto named = read("named.csv", "z;label;x;Y;red;green;blue\n3;7;1;2;9;8;7\n");
  EXPECT_THAT(named.points, ElementsAre(1, 2, 3));
  EXPECT_THAT(named.labels, ElementsAre(7));
  EXPECT_EQ(named.colours, (std::vector<uint8_t>{9, 8, 7}));
  EXPECT_EQ(read("rgb.xyz", "1 2 3 255 0 7\r\n4 5 6 1 2 3\r\n").colours, (std::vector<uint8_t>{255, 0, 7, 1, 2, 3}));
  EXPECT_THAT(read("normals.xyz", "1 2 3 0 0 1\n4 5 6 0 1 0\n").colours, IsEmpty());
  const auto pts = read("scan.pts", "2\n1 2 3 -1200 1 2 3\n4 5 6 -900 4 5 6\n");
  EXPECT_THAT(pts.intensity, ElementsAre(-1200, -900));
  EXPECT_EQ(pts.colours, (std::vector<uint8_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_THAT(read("intensity.txt", "# x y z i\n1,2,3,0.25\n").intensity, ElementsAre(0.25f));
}

TEST_F(CloudReaders, FramesOfLaserScanners) {
  std::vector<float> five(5 * 8, 1.f), four(4 * 3, 2.f), three(3 * 3, 3.f);
  EXPECT_EQ(read("sweep.pcd.bin", bytes_of(five)).size(), 8);
  EXPECT_EQ(read("velodyne.bin", bytes_of(five)).size(), 10);  // 160 bytes are four values a point too, and KITTI's name has no mark
  EXPECT_EQ(read("velodyne.bin", bytes_of(five), {.frame_columns = 5}).size(), 8);
  EXPECT_THAT(read("kitti.bin", bytes_of(four)).intensity, ElementsAre(2, 2, 2));
  EXPECT_THAT(read("plain.bin", bytes_of(three)).intensity, IsEmpty());
}

TEST_F(CloudReaders, NumpyArraysOfAllKinds) {
  const auto box = box_points();
  EXPECT_EQ(read("box.npy", npy_file("<f4", "(8, 3)", bytes_of(box))).points, box);
  EXPECT_EQ(read("box.npy", npy_file("<f8", "(8, 3)", bytes_of(std::vector<double>(box.begin(), box.end())))).points, box);
  std::vector<float> turned;
  for (size_t axis = 0; axis < 3; ++axis) {
    for (size_t i = 0; i < 8; ++i) turned.push_back(box[3 * i + axis]);
  }
  EXPECT_EQ(read("box.npy", npy_file("<f4", "(8, 3)", bytes_of(turned), true)).points, box);
  EXPECT_EQ(read("box.npy", npy_file("<f4", "(4, 6)", bytes_of(box))).points[3], box[6]);  // further columns are left
  EXPECT_THAT(read("box.npy", npy_file("|u1", "(2, 3)", "\x01\x02\x03\x04\x05\xff")).points, ElementsAre(1, 2, 3, 4, 5, 255));
  const std::string record = "[('z', '<f4'), ('x', '<f8'), ('y', '<i2'), ('red', '|u1'), ('green', '|u1'), ('blue', '|u1'), ('more', '<f4', (2,))]";
  std::string row = bytes_of(std::vector<float>{3}) + bytes_of(std::vector<double>{1}) + std::string("\x02\x00\x07\x08\x09", 5) + std::string(8, 'q');
  const auto cloud = read("records.npy", npy_file(record, "(2,)", row + row));
  EXPECT_THAT(cloud.points, ElementsAre(1, 2, 3, 1, 2, 3));
  EXPECT_EQ(cloud.colours, (std::vector<uint8_t>{7, 8, 9, 7, 8, 9}));
}

TEST_F(CloudReaders, NpzStoredAndDeflated) {
  const auto array = npy_file("<f4", "(8, 3)", bytes_of(box_points())), other = npy_file("<f4", "(2,)", bytes_of(std::vector<float>{1, 2}));
  for (const bool deflate : {false, true}) {
    write_npz(folder_ / "one.npz", {{"arr_0", array}}, deflate);
    write_npz(folder_ / "two.npz", {{"centre", other}, {"points", array}}, deflate);
    write_npz(folder_ / "vague.npz", {{"a", other}, {"b", array}}, deflate);
    EXPECT_EQ(data::read_cloud({folder_ / "one.npz"}).points, box_points());
    EXPECT_EQ(data::read_cloud({folder_ / "two.npz"}).points, box_points());
    EXPECT_THAT(refusal_of({folder_ / "vague.npz"}), HasSubstr("got a, b"));
  }
}

TEST_F(CloudReaders, OneOfManyInHdf5AndNumpy) {
  write_hdf5(folder_ / "many.h5", 3, 4, {2, 1, 0});
  write_text(folder_ / "many.npy", npy_file("<f4", "(2, 4, 3)", bytes_of(box_points())));
  EXPECT_EQ(data::count_clouds(folder_ / "many.h5"), 3);
  EXPECT_EQ(data::count_clouds(folder_ / "many.npy"), 2);
  const auto file = data::cloud_file_named((folder_ / "many.h5").string() + "#1");
  EXPECT_EQ(file.index, 1);
  EXPECT_EQ(data::read_cloud(file).points, (std::vector<float>{100, 101, 102, 110, 111, 112, 120, 121, 122, 130, 131, 132}));
  EXPECT_THAT(data::read_cloud(file).source, HasSubstr("many.h5#1"));
  const auto box = box_points();
  EXPECT_EQ(data::read_cloud({folder_ / "many.npy", 1}).points, std::vector<float>(box.begin() + 12, box.end()));
  EXPECT_THAT(refusal_of({folder_ / "many.h5"}), HasSubstr("holds 3 clouds"));
  EXPECT_THAT(refusal_of({folder_ / "many.h5", 3}), HasSubstr("expected 0..2"));
  EXPECT_THROW(data::cloud_file_named("many.h5#x"), InvalidArgument);
}

TEST_F(CloudReaders, FilesOfCloudsAreListedOnce) {
  EXPECT_THAT(data::paths_of({{"b.h5", 0}, {"a.ply"}, {"b.h5", 1}}), ElementsAre("b.h5", "a.ply"));
  EXPECT_TRUE(data::paths_of({}).empty());
}

TEST_F(CloudReaders, PointsThatAreNoneAreDroppedAndCounted) {
  const auto cloud = read("holes.xyz", "1 2 3 0.5\nnan 0 0 0.6\n0 inf 0 0.7\n4 5 6 0.8\n0 0 1e300 0.9\n0 0 1e400 1\n");
  EXPECT_THAT(cloud.points, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(cloud.intensity, ElementsAre(0.5f, 0.8f));
  EXPECT_EQ(cloud.dropped, 4);
  EXPECT_THAT(refusal_of_bytes(folder_ / "none.xyz", "nan nan nan\n"), HasSubstr("no point of 1 has three finite coordinates"));
}

TEST_F(CloudReaders, OnePointIsACloud) { EXPECT_EQ(read("one.xyz", "5 6 7").size(), 1); }

TEST_F(CloudReaders, ContentGoesBeforeExtension) {
  EXPECT_EQ(read("really.txt", las_file()).size(), 8);
  EXPECT_EQ(read("really.xyz", ply_text()).size(), 8);
}

}  // namespace
}  // namespace graft::testing
