#pragma once

// Internal: one reader a format, behind read_cloud(). Not for other folders.

#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "data_loaders/cloud/mesh_sampling.h"
#include "data_loaders/cloud/read_cloud.h"
#include "kernels/base/error.h"

namespace graft::data {

/// A file's content and what its errors call it.
struct FileContent {
  std::string_view bytes;
  std::filesystem::path path;
  std::string name;  ///< path, with the index
  int64_t index = -1;
};

PointCloud read_pcd(const FileContent& file);
PointCloud read_ply(const FileContent& file, const ReadOptions& options);
PointCloud read_obj(const FileContent& file, const ReadOptions& options);
PointCloud read_stl(const FileContent& file, const ReadOptions& options);
PointCloud read_off(const FileContent& file, const ReadOptions& options);
PointCloud read_las(const FileContent& file);
PointCloud read_frame(const FileContent& file, const ReadOptions& options);
PointCloud read_text_points(const FileContent& file);
PointCloud read_npy(const FileContent& file);
PointCloud read_npz(const FileContent& file);
PointCloud read_hdf5(const FileContent& file);
int64_t count_npy(const FileContent& file);
int64_t count_npz(const FileContent& file);
int64_t count_hdf5(const FileContent& file);

/// Throws IoError about a file.
[[noreturn]] inline void refuse(const FileContent& file, const std::string& what, const std::string& expected = "", const std::string& got = "",
                                const std::string& hint = "") {
  throw IoError({.where = file.name, .what = what, .expected = expected, .got = got, .hint = hint});
}

/// A number at a byte position; the caller has checked that it lies within. Files and machines here are little-endian.
template <class T>
T load(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// The index of the cloud that is meant among `count`; throws InvalidArgument if it is missing or too large.
int64_t chosen_index(const FileContent& file, int64_t count);

/// More points than this in one cloud are taken for damage.
constexpr int64_t kMostPoints = 200'000'000;

}  // namespace graft::data
