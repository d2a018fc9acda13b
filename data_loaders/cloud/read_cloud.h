#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data_loaders/cloud/point_cloud.h"

namespace graft::data {

/// One cloud on the disk: a file, or one of the many in an HDF5 or NumPy file.
struct CloudFile {
  std::filesystem::path path;
  int64_t index = -1;  ///< -1: the file is one cloud

  std::string name() const;  ///< "scans/tree.ply", "train.h5#17"
  bool operator==(const CloudFile&) const = default;
};

/// The files that clouds lie in, each once, in the order of their first cloud.
std::vector<std::filesystem::path> paths_of(const std::vector<CloudFile>& clouds);

/// The opposite of CloudFile::name(). A file that exists under the whole name is taken as it is.
CloudFile cloud_file_named(const std::string& name);

struct ReadOptions {
  int64_t mesh_points = 2048;  ///< drawn from a mesh's surface, each area alike
  uint64_t seed = 0;           ///< of that draw
  int64_t frame_columns = 0;   ///< float32 values a point in a .bin frame; 0: told from name and size (5 in *.pcd.bin, else 4, else 3)
};

/// Reads one cloud.
///
///   PCD                   ascii, binary, binary_compressed (needs PCL)
///   PLY                   ascii and both binary orders; points or mesh
///   OBJ                   points or mesh; materials and textures are not opened
///   OFF                   points or mesh, with ModelNet's header glued to the counts too
///   STL                   text and binary (needs Open3D)
///   LAS 1.1-1.4           point formats 0-10; extra bytes, VLRs and wave packets are passed over
///   HDF5                  dataset `data` (n, points, >= 3) or (points, >= 3)
///   NPY, NPZ              (points, >= 3), (n, points, >= 3), or records with fields x, y, z
///   .bin                  KITTI and nuScenes frames
///   XYZ, PTS, TXT, ASC, CSV   numbers in lines; a first line may name the columns
///
/// What a file is, its first bytes say, and its extension where they do not. Every size in a file is compared with the file's length before
/// memory is asked for. Points with a coordinate that is no number are dropped and counted.
/// Throws   IoError for a file that is missing, damaged, empty or of another kind than it says; InvalidArgument for an unknown kind, a
///          missing or superfluous index; Unavailable for a kind whose library this build lacks, and for compressed LAS.
PointCloud read_cloud(const CloudFile& file, const ReadOptions& options = {});

/// How many clouds a file holds: 1, but for HDF5 and NumPy files with three axes. Reads a header only, never a label.
int64_t count_clouds(const std::filesystem::path& file);

/// True for a file whose extension is that of a kind that read_cloud() knows (compressed LAS included, which it refuses in words).
bool has_cloud_extension(const std::filesystem::path& file);

}  // namespace graft::data
