#pragma once

// Internal to data_loaders/cloud.

#include "data_loaders/cloud/cloud_readers.h"

namespace graft::data {

/// Throws IoError unless a binary STL has the length that its count says, or a text one is made of its few words.
void check_stl(const FileContent& file);

}  // namespace graft::data
