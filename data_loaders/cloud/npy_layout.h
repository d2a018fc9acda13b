#pragma once

// Internal to data_loaders/cloud.

#include <string>
#include <vector>

#include "data_loaders/cloud/cloud_readers.h"

namespace graft::data {

/// A NumPy type: f, i or u and its bytes.
struct NpyType {
  char kind = 'f';
  int64_t size = 4;
};

struct NpyField {
  std::string name;
  NpyType type;
  int64_t offset = 0;  ///< in the record
};

/// An NPY file's header, and its data.
struct NpyLayout {
  NpyType type;                  ///< of a plain array
  std::vector<NpyField> fields;  ///< of an array of records; else empty
  int64_t item_bytes = 0;
  bool fortran = false;  ///< the first index runs fastest
  std::vector<int64_t> shape;
  std::string_view data;  ///< exactly shape's items

  int64_t items() const;
};

/// Reads and checks a header of version 1 to 3: types that are numbers in this machine's order, axes whose data the file holds.
/// Throws IoError.
NpyLayout read_npy_layout(const FileContent& file, std::string_view bytes);

}  // namespace graft::data
