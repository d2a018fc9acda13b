#include <gmock/gmock.h>

#include <functional>

#include "kernels/base/error.h"
#include "tests/data_loaders/cloud/cloud_samples.h"
#include "tests/support/temp_dir.h"

namespace graft::testing {
namespace {

using ::testing::HasSubstr;

struct Refusal {
  std::string name;  ///< of the file
  std::string bytes;
  std::string words;  ///< that the error must have
};

std::string with(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

std::string with_byte(std::string bytes, size_t at, char value) {
  bytes[at] = value;
  return bytes;
}

void expect_refusals(const std::vector<Refusal>& refusals) {
  const TempDir folder;
  for (const auto& refusal : refusals) {
    const auto line = refusal_of_bytes(folder / refusal.name, refusal.bytes);
    EXPECT_THAT(line, HasSubstr(refusal.words)) << refusal.name;
    EXPECT_THAT(line, HasSubstr(refusal.name));
    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_LT(line.size(), 1000u);
  }
}

TEST(CloudRefusals, Pcd) {
  const auto text = pcd_text(), binary = pcd_binary(), packed = pcd_compressed();
  expect_refusals({{"a.pcd", with(text, "DATA ascii", ""), "is not known"},
                   {"a.pcd", "# .PCD v0.7\nVERSION 0.7\n", "does not end"},
                   {"a.pcd", with(text, "POINTS 8", "POINTS 9"), "is not POINTS"},
                   {"a.pcd", with(text, "WIDTH 8", "WIDTH 99999999999"), "unusable WIDTH"},
                   {"a.pcd", with(text, "SIZE 4 4", "SIZE 3 4"), "unusable SIZE"},
                   {"a.pcd", with(text, "TYPE F F F", "TYPE F F"), "does not match FIELDS"},
                   {"a.pcd", with(text, "COUNT 1", "COUNT -1"), "unusable COUNT"},
                   {"a.pcd", with(text, "DATA ascii", "DATA zip"), "unknown DATA"},
                   {"a.pcd", with(with(text, "WIDTH 8", "WIDTH 100000"), "POINTS 8", "POINTS 100000"), "ends before its points"},
                   {"a.pcd", with(text, "COUNT 1", "COUNT 60000"), "ends before its points"},
                   {"a.pcd", binary.substr(0, binary.size() - 1), "ends before its points"},
                   {"a.pcd", with(packed, "intensity label", "_ label"), "padding in a compressed block"},
                   {"a.pcd", packed.substr(0, packed.size() - 1), "ends before its points"},
                   {"a.pcd", with(with(text, "WIDTH 8", "WIDTH 0"), "POINTS 8", "POINTS 0"), "holds no points"}});
}

TEST(CloudRefusals, Ply) {
  const auto text = ply_text(), mesh = ply_binary(false);
  expect_refusals({{"a.ply", with(text, "ascii 1.0", "ascii 2.0"), "unknown version"},
                   {"a.ply", with(text, "ascii 1.0", "morse 1.0"), "unknown format"},
                   {"a.ply", with(text, "format ascii 1.0\n", ""), "no format line"},
                   {"a.ply", with(text, "end_header\n", ""), "is not known"},
                   {"a.ply", with(text, "vertex 8", "vertex 8000000"), "too short"},
                   {"a.ply", with(text, "vertex 8", "vertex 9"), "ends before its elements"},
                   {"a.ply", with(text, "vertex 8", "vertex -1"), "no count"},
                   {"a.ply", with(text, "vertex 8", std::string(5000, 'v') + " 8"), "unusable element"},
                   {"a.ply", with(text, "vertex 8", "vertex 0"), "holds no points"},
                   {"a.ply", with(text, "property double x", "property quad x"), "unknown type"},
                   {"a.ply", with(text, "property double x", "property double w"), "lack x, y or z"},
                   {"a.ply", with(text, "0.000000", "zero"), "not a number"},
                   {"a.ply", with(text, "7 0.5\n", "7\n"), "ends before its elements"},
                   {"a.ply", mesh.substr(0, mesh.size() - 1), "ends before its elements"},
                   {"a.ply", with_byte(mesh, mesh.size() - 6, 8), "names no vertex"}});
}

TEST(CloudRefusals, Off) {
  const auto text = off_text();
  expect_refusals({{"a.off", "PUFF\n", "not an OFF file"},
                   {"a.off", "OFF\n", "ends within its header"},
                   {"a.off", "OFF\nx y z\n", "no counts"},
                   {"a.off", "OFF BINARY\n", "binary OFF"},
                   {"a.off", with(text, "OFF7", "OFF7000000"), "too short"},
                   {"a.off", with(text, "OFF7 2", "OFF7 3"), "ends within its faces"},
                   {"a.off", with(text, "3 4 5 6", "3 4 5 7"), "names no vertex"},
                   {"a.off", with(text, "3 4 5 6", "3 4 5 -1"), "names no vertex"},
                   {"a.off", with(text, "3 4 5 6", "999 4 5 6"), "no count of corners"},
                   {"a.off", with(text, "12 0 0", "12 0"), "no number for a coordinate"},
                   {"a.off", "OFF\n0 0 0\n", "holds no points"}});
}

TEST(CloudRefusals, Las) {
  const auto las = las_file({.minor = 4, .format = 6}), old = las_file();
  expect_refusals({{"a.las", old.substr(0, 100), "not a LAS file"},
                   {"a.las", "FASL" + old.substr(4), "not a LAS file"},
                   {"a.las", with_byte(old, 25, 0), "another version"},
                   {"a.las", with_byte(old, 104, 11), "unknown point format"},
                   {"a.laz", with_byte(old, 104, '\x80'), "pdal translate a.laz a.las"},
                   {"a.copc.laz", with_byte(las, 104, '\x86'), "compressed LAS"},
                   {"a.las", with_byte(old, 94, 10), "wrong header length"},
                   {"a.las", with_byte(old, 105, 19), "too short for format 0"},
                   {"a.las", with_byte(old, 98, 1), "begin outside the file"},
                   {"a.las", with_byte(old, 100, 2), "runs into the points"},
                   {"a.las", with_byte(old, 107, 9), "ends before its points"},
                   {"a.las", with_byte(las, 247 + 7, '\x7f'), "ends before its points"},
                   {"a.las", with_byte(las, 107, 3), "two point counts differ"},
                   {"a.las", old.substr(0, old.size() - 1), "ends before its points"},
                   {"a.las", las_file({.scale = {0, 1, 1}}), "no usable scale"},
                   {"a.las", las_file({.points = 0}), "holds no points"}});
}

TEST(CloudRefusals, NumpyAndFrames) {
  const auto box = bytes_of(box_points());
  expect_refusals({{"a.npy", npy_file("<f4", "(9, 3)", box), "ends before its NumPy array"},
                   {"a.npy", npy_file("<f4", "(9223372036854775807, 9223372036854775807)", box), "ends before its NumPy array"},
                   {"a.npy", npy_file("<f4", "(8, 2)", box), "no list of points"},
                   {"a.npy", npy_file("<f4", "(3, 2)", box), "array.T"},
                   {"a.npy", npy_file("<f2", "(8, 3)", box), "astype"},
                   {"a.npy", npy_file(">f4", "(8, 3)", box), "byte order"},
                   {"a.npy", npy_file("<c8", "(8, 3)", box), "not read here"},
                   {"a.npy", npy_file("<f4", "(8, 3", box), "cannot be read"},
                   {"a.npy", npy_file("[('x', '<f4'), ('y', '<f4')]", "(8,)", box), "lack a field"},
                   {"a.npy", npy_file("<f4", "(0, 3)", ""), "holds no points"},
                   {"a.npy", npy_file("<f4", "(8, 3)", box).substr(0, 40), "within its NumPy header"},
                   {"a.npz", std::string("PK\x03\x04") + std::string(40, 'z'), "ZIP"},
                   {"a.h5", std::string("\x89HDF\r\n\x1a\n") + std::string(400, '\x01'), "HDF5"},
                   {"a.bin", std::string(47, 'x'), "no multiple"},
                   {"a.bin", std::string(48, '\x7e'), "laser scanner"}});
}

TEST(CloudRefusals, TextsMeshesAndTheRest) {
  expect_refusals({{"a.xyz", "1 2 3\n4 5\n", "line 2"},
                   {"a.xyz", "1 2 3\n4 5 six\n", "\"six\""},
                   {"a.xyz", "1 2\n", "3 or more"},
                   {"a.txt", "P0: 7.1 0 0\n", "not a number"},
                   {"a.csv", "a,b,c\n1,2,3\n", "names no column x"},
                   {"a.csv", "x,y,z\n", "holds no points"},
                   {"a.pts", "3\n1 2 3\n", "first line says"},
                   {"a.xyz", std::string("1 2 3\n\0", 7), "is not text"},
                   {"a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "names no vertex"},
                   {"a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -1 -2 -4\n", "names no vertex"},
                   {"a.obj", "v 0 0 zero\n", "no number"},
                   {"a.stl", "nothing of the kind", "is no STL"},
                   {"a.stl", "solid\nfacet\nvertex 1 2 q\n", "no number"},
                   {"a.ply", "", "is empty"},
                   {"a.doc", "1 2 3", "not a kind of point cloud"}});
  EXPECT_THAT(refusal_of({.path = "/no/such.ply"}), HasSubstr("/no/such.ply"));
  EXPECT_THAT(refusal_of({.path = "/tmp"}), HasSubstr("is a folder"));
  const TempDir folder;
  write_text(folder / "a.xyz", "1 2 3\n");
  EXPECT_THAT(refusal_of({folder / "a.xyz", 1}), HasSubstr("no cloud of that index"));
}

}  // namespace
}  // namespace graft::testing
