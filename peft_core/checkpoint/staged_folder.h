#pragma once

#include <filesystem>

namespace graft::peft {

/// A folder that appears under its name whole or not at all: it is filled beside its place under a hidden name and renamed at the end.
class StagedFolder {
 public:
  /// Throws InvalidArgument if `target` is a file or a folder that is not empty, IoError if the folder beside it cannot be made.
  explicit StagedFolder(std::filesystem::path target);
  /// Removes what was not committed.
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  const std::filesystem::path& path() const { return staging_; }
  /// Puts the folder in its place; everything in it has to be on disk already. Throws IoError.
  void commit();

 private:
  std::filesystem::path target_, staging_;
  bool committed_ = false;
};

}  // namespace graft::peft
