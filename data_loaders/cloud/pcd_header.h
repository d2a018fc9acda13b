#pragma once

// Internal to data_loaders/cloud.

#include <string>
#include <vector>

#include "data_loaders/cloud/cloud_readers.h"

namespace graft::data {

enum class PcdData { kAscii, kBinary, kCompressed };

struct PcdField {
  std::string name;
  int64_t size = 4;  ///< bytes
  char type = 'F';   ///< F, I or U
  int64_t count = 1;
};

struct PcdHeader {
  std::vector<PcdField> fields;
  int64_t width = 0, height = 1;
  PcdData data = PcdData::kAscii;
  size_t body = 0;  ///< where the points begin in the file

  int64_t points() const { return width * height; }
  int64_t point_bytes() const;
};

/// Reads and checks the header, and the body's size against the header: PCL asks for memory by the header and copies by it. Throws IoError.
PcdHeader read_pcd_header(const FileContent& file);

/// The header in the form that PCL's own parser reads without surprises.
std::string canonical_text(const PcdHeader& header);

}  // namespace graft::data
