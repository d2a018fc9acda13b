#pragma once

// Internal to data_loaders/cloud.

#include <string>
#include <vector>

#include "data_loaders/cloud/cloud_readers.h"

namespace graft::data {

enum class PlyOrder { kAscii, kLittle, kBig };

struct PlyProperty {
  std::string name;
  char kind = 'f';        ///< f, i (signed) or u
  size_t size = 4;        ///< bytes of a value in a binary file
  size_t count_size = 0;  ///< bytes of a list's length; 0: no list
};

struct PlyElement {
  std::string name;
  int64_t count = 0;
  std::vector<PlyProperty> properties;
};

struct PlyLayout {
  PlyOrder order = PlyOrder::kAscii;
  std::vector<PlyElement> elements;
  size_t body = 0;  ///< where the data begin

  const PlyElement* element(const std::string& name) const;
};

/// Reads and checks a header: known types, counts that the file has room for. Throws IoError.
PlyLayout read_ply_layout(const FileContent& file);

}  // namespace graft::data
