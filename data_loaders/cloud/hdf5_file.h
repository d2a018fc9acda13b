#pragma once

// Internal to data_loaders/cloud.

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "data_loaders/cloud/cloud_readers.h"

namespace graft::data {

/// The clouds of an HDF5 file as ModelNet40, ScanObjectNN, PointDA-10's ScanNet and BIMNet10 keep them.
class Hdf5Clouds {
 public:
  /// Opens the file and looks at the axes of its dataset `data`. Throws IoError.
  explicit Hdf5Clouds(const FileContent& file);
  ~Hdf5Clouds();
  Hdf5Clouds(const Hdf5Clouds&) = delete;
  Hdf5Clouds& operator=(const Hdf5Clouds&) = delete;

  int64_t clouds() const { return clouds_; }
  /// (points, columns) of one cloud; columns >= 3.
  RawPoints points(int64_t cloud) const;
  /// Dataset `label`, one whole number a cloud. Only those who ask for it open it.
  std::vector<int64_t> labels() const;

 private:
  const FileContent& file_;
  int64_t handle_ = -1, data_ = -1;
  int64_t clouds_ = 0, points_ = 0, columns_ = 0;
  bool many_ = false;  ///< three axes
};

}  // namespace graft::data
