#pragma once

// Internal to data_loaders/cloud.

#include <string>
#include <vector>

#include "data_loaders/cloud/read_cloud.h"

namespace graft::data {

struct NamedCloud {
  CloudFile file;
  std::string class_name;
};

/// The rows of folder/index.csv, in the file's order. `split`: only rows whose column `split` says so. Throws IoError with the line for a
/// row that is wrong, a file that is not there, or one that leads out of the folder; InvalidArgument for a split that no row bears.
std::vector<NamedCloud> read_folder_index(const std::filesystem::path& folder, const std::string& split);

/// The lines of folder/files.txt. Throws IoError with the line for a file that is not there or leads out of the folder, and for an empty list.
std::vector<CloudFile> read_file_list(const std::filesystem::path& folder);

}  // namespace graft::data
