#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "data_loaders/cloud/read_cloud.h"
#include "tests/data_loaders/cloud/cloud_samples.h"
#include "tests/support/mutate.h"
#include "tests/support/temp_dir.h"

namespace graft::testing {
namespace {

/// For each format. GRAFT_FUZZ_COUNT=10000 is the whole; every run takes a part of it, since each damaged file goes to the disk and back.
constexpr size_t kUsual = 500;

/// Damaged versions of `originals` give clouds of finite points or errors in words.
void expect_harmless(const std::string& name, const std::vector<std::string>& originals, const std::vector<std::string>& words) {
  const TempDir folder;
  const auto file = folder / name;
  const auto report = fuzz_reader(originals, fuzz_count(kUsual), 20240611, words, [&](const std::string& bytes) {
    const auto cloud = read_bytes(file, bytes, {.mesh_points = 64});
    if (cloud.size() < 1) throw std::logic_error("an empty cloud");
    for (const float value : cloud.points) {
      if (!std::isfinite(value)) throw std::logic_error("a point that is no number");
    }
    const auto n = static_cast<size_t>(cloud.size());
    if ((!cloud.colours.empty() && cloud.colours.size() != 3 * n) || (!cloud.labels.empty() && cloud.labels.size() != n) ||
        (!cloud.intensity.empty() && cloud.intensity.size() != n)) {
      throw std::logic_error("attributes of another number of points");
    }
  });
  for (const auto& failure : report.failures) ADD_FAILURE() << failure;
  EXPECT_GT(report.refused, 0u);
  EXPECT_GT(report.accepted, 0u) << "nothing was read; is the library there?";
  // Files of a few kilobytes: nothing may ask for memory by a number in a header.
  EXPECT_LT(report.grown_bytes, (200L << 20) + kQuarantine);
}

bool can_read(const std::string& name, const std::string& bytes) {
  const TempDir folder;
  return refusal_of_bytes(folder / name, bytes).empty();
}

TEST(CloudFuzz, Pcd) {
  if (!can_read("a.pcd", pcd_text())) GTEST_SKIP() << "this build has no PCL";
  expect_harmless("a.pcd", {pcd_text(), pcd_binary(), pcd_compressed()},
                  {"ascii", "binary", "binary_compressed", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "POINTS", "x", "F", "U", "I", "4", "8", "_"});
}

TEST(CloudFuzz, Ply) {
  expect_harmless("a.ply", {ply_text(), ply_binary(false), ply_binary(true)},
                  {"ascii", "binary_little_endian", "binary_big_endian", "uchar", "int", "float", "double", "short", "list", "property", "element",
                   "vertex", "face", "x"});
}

TEST(CloudFuzz, Las) {
  expect_harmless("a.las", {las_file(), las_file({.minor = 4, .format = 7, .extra_bytes = 3}), las_file({.minor = 3, .format = 5})}, {"LASF"});
}

TEST(CloudFuzz, Off) {
  expect_harmless("a.off", {off_text(), "COFF\n3 1 0\n0 0 0 1 0 0 1\n1 0 0 0 1 0 1\n0 1 0 0 0 1 1\n3 0 1 2\n"},
                  {"OFF", "COFF", "NOFF", "3", "0", "#"});
}

TEST(CloudFuzz, NumpyRecordsTextFramesAndMeshes) {
  const auto box = bytes_of(box_points());
  expect_harmless(
      "a.npy", {npy_file("<f4", "(8, 3)", box), npy_file("<f8", "(4, 3)", box), npy_file("[('x', '<f4'), ('y', '<f4'), ('z', '<f4')]", "(8,)", box)},
      {"<f4", "<f8", "<i2", "|u1", "True", "False", "descr", "shape", "(8,)"});
  expect_harmless("a.csv", {"x,y,z,label\n1,2,3,4\n5,6,7,8\n", "1 2 3 255 0 0\n4 5 6 0 255 0\n"}, {"x", "y", ",", "nan", "\n"});
  expect_harmless("a.bin", {box + box}, {});
}

TEST(CloudFuzz, Obj) {
  expect_harmless("a.obj", {"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvn 0 0 1\nf 1/1/1 2/1/1 3/1/1 4/1/1\nf 1//1 2//1 3//1\n"},
                  {"v", "vt", "vn", "f", "/", "1", "-1"});
}

TEST(CloudFuzz, Stl) {
  const std::string text = "solid s\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\nendsolid s\n";
  const auto binary =
      std::string(80, ' ') + std::string("\1\0\0\0", 4) + bytes_of(std::vector<float>{0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0}) + std::string(2, '\0');
  if (!can_read("a.stl", text)) GTEST_SKIP() << "this build has no Open3D";
  expect_harmless("a.stl", {text, binary}, {"solid", "facet", "vertex", "endloop", "outer loop"});
}

}  // namespace
}  // namespace graft::testing
