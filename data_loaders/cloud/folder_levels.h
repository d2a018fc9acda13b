#pragma once

// Internal to data_loaders/cloud.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data_loaders/cloud/cloud_folder.h"

namespace graft::data {

/// A file that the walk found, and the folder that names its class; none above an HDF5 file or where classes do not matter.
struct FoundCloudFile {
  std::filesystem::path path;
  std::optional<std::string> class_name;
  std::string domain;  ///< of the level it was found under, in lower case
};

/// Walks the levels of a data folder as the choice says, in the order of names. See labelled_clouds() for levels and errors.
///
/// With `classes_matter` off every folder that is no split, domain or camera is walked through.
std::vector<FoundCloudFile> walk_levels(const std::filesystem::path& folder, const FolderChoice& choice, bool classes_matter);

std::string lower(std::string text);

/// True for .h5 and .hdf5.
bool is_hdf5(const std::filesystem::path& file);

}  // namespace graft::data
