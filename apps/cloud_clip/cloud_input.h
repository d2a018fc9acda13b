#pragma once

#include <filesystem>
#include <optional>

#include "apps/cloud_clip/zero_shot_settings.h"
#include "data_loaders/cloud/read_cloud.h"

namespace graft::apps::cloud {

/// What became of one cloud of the input.
struct InputLine {
  std::string file;
  int64_t points = 0, dropped = 0;
  std::string up;                  ///< the file's axis that is up
  std::vector<std::string> notes;
  std::string reason;              ///< why it was left out; empty: it was read
};

/// Clouds to label: a file, or all files of a folder and of those below that bear the extension of a cloud, in the order of their names.
/// With input.up = auto one axis is up in all of them but those whose format says so: turned one by one, or class by class, clouds would
/// differ by more than their shape.
/// Files that cannot be read are left out and told about; only where there is nothing else they throw.
class CloudInput {
 public:
  /// Throws InvalidArgument for a path that is not there and for a folder without clouds.
  CloudInput(const std::filesystem::path& input, const InputConfig& config, uint64_t seed);
  /// These files.
  CloudInput(std::vector<data::CloudFile> files, const InputConfig& config, uint64_t seed);

  int64_t size() const { return static_cast<int64_t>(files_.size()); }
  /// The prepared cloud, z up; none if it cannot be read. In any order; adds to lines().
  std::optional<data::PointCloud> read(int64_t index);
  /// The axis that was up in the file, for what was read.
  data::UpAxis up_of(int64_t index) const { return up_[static_cast<size_t>(index)]; }
  /// One for each call of read(), and those that the list itself refused.
  const std::vector<InputLine>& lines() const { return lines_; }
  int64_t skipped() const;
  /// Throws the first reason as an IoError if nothing could be read.
  void expect_some() const;

 private:
  data::UpAxis up_axis(const data::PointCloud& cloud);
  data::PointCloud read_file(const data::CloudFile& file) const;

  InputConfig config_;
  uint64_t seed_;
  std::vector<data::CloudFile> files_;
  std::vector<data::UpAxis> up_;
  std::vector<InputLine> lines_;
  std::optional<data::UpAxis> common_up_;  // of all clouds whose format does not say
};

}  // namespace graft::apps::cloud
