#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data_loaders/cloud/read_cloud.h"

// Small files of every format, with the same corner points of a box unless said otherwise.
namespace graft::testing {

/// (8, 3): the corners of a box of 1 x 2 x 3.
std::vector<float> box_points();

std::string pcd_text();
std::string pcd_binary();
/// One block of literal runs, which is how LZF stores what does not repeat.
std::string pcd_compressed();

std::string ply_text();                   ///< with colours, labels, intensity
std::string ply_binary(bool big_endian);  ///< with two faces: a square and a triangle
std::string off_text();                   ///< a square of area 1 and a triangle of area 3, glued header

struct LasSample {
  int minor = 2;
  int format = 0;
  size_t extra_bytes = 0;
  std::array<double, 3> scale = {0.001, 0.001, 0.001};
  std::array<double, 3> offset = {500000, 5400000, 100};
  size_t points = 8;  ///< of box_points()
  size_t variable_records = 1;
};
std::string las_file(const LasSample& sample = {});

std::string npy_file(const std::string& type, const std::string& shape, const std::string& data, bool fortran = false);
std::string bytes_of(const std::vector<float>& values);
std::string bytes_of(const std::vector<double>& values);

/// data (clouds, points, 3) with value 100 cloud + 10 point + axis, label (clouds, 1) unless empty. HDF5.
void write_hdf5(const std::filesystem::path& file, int64_t clouds, int64_t points, const std::vector<uint8_t>& labels);
/// NPZ with the arrays as they are (stored or deflated).
void write_npz(const std::filesystem::path& file, const std::vector<std::pair<std::string, std::string>>& arrays, bool deflate);

/// Writes the bytes and reads them as a cloud.
data::PointCloud read_bytes(const std::filesystem::path& file, const std::string& bytes, const data::ReadOptions& options = {});
/// The error's line; "" if there is none.
std::string refusal_of(const data::CloudFile& file, const data::ReadOptions& options = {});
std::string refusal_of_bytes(const std::filesystem::path& file, const std::string& bytes);

}  // namespace graft::testing
