#pragma once

// Internal to data_loaders/cloud.

#include <string>

#include "data_loaders/cloud/cloud_readers.h"

namespace graft::data {

/// The NPY file in an NPZ that holds the points: the only one, or the one called points, data, xyz or pc. Throws IoError.
std::string array_of_points(const FileContent& file);

}  // namespace graft::data
