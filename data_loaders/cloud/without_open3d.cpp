// Stands in for stl_reader.cpp where a build has no Open3D.
#include "data_loaders/cloud/cloud_readers.h"
#include "data_loaders/cloud/stl_check.h"

namespace graft::data {

PointCloud read_stl(const FileContent& file, const ReadOptions&) {
  check_stl(file);  // a damaged file is called so on any machine
  throw Unavailable({.where = file.name,
                     .what = "STL needs the library Open3D, which this build lacks",
                     .hint = "Debian: apt-get install libopen3d-dev, then build again; or convert the file to PLY"});
}

}  // namespace graft::data
