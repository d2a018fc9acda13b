#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data_loaders/cloud/point_cloud.h"

namespace graft::apps::cloud {

/// A data folder as it grows: clouds as PLY with z up, index.csv where the classes are known.
class PreparedFolder {
 public:
  /// `folder` exists. Labels of clouds count `classes`.
  PreparedFolder(std::filesystem::path folder, std::vector<std::string> classes) : folder_(std::move(folder)), classes_(std::move(classes)) {}

  /// `label` -1: not known. Throws IoError if the disk refuses.
  void add(data::PointCloud cloud, int64_t label);
  void finish() const;

  int64_t count() const { return count_; }
  int64_t points() const { return points_; }

 private:
  std::filesystem::path folder_;
  std::vector<std::string> classes_;
  std::string index_;
  int64_t count_ = 0, points_ = 0;
};

}  // namespace graft::apps::cloud
