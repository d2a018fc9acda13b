#include "data_loaders/cloud/hdf5_file.h"

#include <hdf5.h>

namespace graft::data {
namespace {

/// The library prints its own stack of errors unless told not to.
void silence() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

/// A handle of the library that closes itself.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  hid_t id() const { return id_; }
  bool good() const { return id_ >= 0; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

std::vector<hsize_t> axes_of(hid_t dataset) {
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const int rank = space.good() ? H5Sget_simple_extent_ndims(space.id()) : -1;
  std::vector<hsize_t> axes(rank > 0 ? static_cast<size_t>(rank) : 0);
  if (!axes.empty()) H5Sget_simple_extent_dims(space.id(), axes.data(), nullptr);
  return axes;
}

bool has_class(hid_t dataset, H5T_class_t wanted) {
  const Handle type(H5Dget_type(dataset), H5Tclose);
  return type.good() && H5Tget_class(type.id()) == wanted;
}

std::string text_of(const std::vector<hsize_t>& axes) {
  std::string text = "(";
  for (size_t i = 0; i < axes.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(axes[i]);
  return text + ")";
}

/// Opens a dataset; -1 where there is none of the name.
hid_t open_dataset(hid_t file, const char* name) { return H5Lexists(file, name, H5P_DEFAULT) > 0 ? H5Dopen2(file, name, H5P_DEFAULT) : -1; }

}  // namespace

Hdf5Clouds::Hdf5Clouds(const FileContent& file) : file_(file) {
  silence();
  handle_ = H5Fopen(file.path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const auto fail = [&](const std::string& what, const std::string& expected, const std::string& got) {
    if (data_ >= 0) H5Dclose(data_);
    if (handle_ >= 0) H5Fclose(handle_);
    refuse(file, what, expected, got);
  };
  if (handle_ < 0) fail("the HDF5 library cannot open it", "", "");
  data_ = open_dataset(handle_, "data");
  if (data_ < 0) fail("has no dataset \"data\"", "data (clouds, points, 3) and label (clouds)", "");
  const auto axes = axes_of(data_);
  many_ = axes.size() == 3;
  if ((axes.size() != 2 && !many_) || axes.back() < 3 || axes.back() > 1024)
    fail("its dataset data has other axes", "(clouds, points, 3 or more) or (points, 3 or more)", text_of(axes));
  if (!has_class(data_, H5T_FLOAT) && !has_class(data_, H5T_INTEGER)) fail("its dataset data holds no numbers", "float32 or float64", "");
  columns_ = static_cast<int64_t>(axes.back());
  points_ = static_cast<int64_t>(axes[axes.size() - 2]);
  clouds_ = many_ ? static_cast<int64_t>(axes[0]) : 1;
  if (points_ < 0 || points_ > kMostPoints || clouds_ < 0)
    fail("its dataset data is too large", std::to_string(kMostPoints) + " points a cloud", text_of(axes));
}

Hdf5Clouds::~Hdf5Clouds() {
  H5Dclose(data_);
  H5Fclose(handle_);
}

RawPoints Hdf5Clouds::points(int64_t cloud) const {
  // Only x, y, z are asked for; further columns (normals, labels) stay in the file.
  const auto points = static_cast<hsize_t>(points_);
  const std::array<hsize_t, 3> start = {static_cast<hsize_t>(cloud), 0, 0}, count = {1, points, 3};
  const size_t skip = many_ ? 0 : 1;
  RawPoints raw;
  raw.xyz.resize(points * 3);
  if (points == 0) return raw;
  const Handle space(H5Dget_space(data_), H5Sclose);
  const std::array<hsize_t, 2> shape = {points, 3};
  const Handle memory(H5Screate_simple(2, shape.data(), nullptr), H5Sclose);
  if (H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start.data() + skip, nullptr, count.data() + skip, nullptr) < 0 ||
      H5Dread(data_, H5T_NATIVE_DOUBLE, memory.id(), space.id(), H5P_DEFAULT, raw.xyz.data()) < 0) {
    refuse(file_, "the HDF5 library cannot read cloud " + std::to_string(cloud), "", "", "the file may be damaged");
  }
  return raw;
}

std::vector<int64_t> Hdf5Clouds::labels() const {
  const Handle dataset(open_dataset(handle_, "label"), H5Dclose);
  if (!dataset.good()) refuse(file_, "has no dataset \"label\"");
  const auto axes = axes_of(dataset.id());
  hsize_t entries = axes.empty() ? 0 : 1;
  for (const auto axis : axes) entries *= axis;
  if (!has_class(dataset.id(), H5T_INTEGER) || axes.size() > 2 || entries != static_cast<hsize_t>(clouds_)) {
    refuse(file_, "its dataset label does not match", std::to_string(clouds_) + " whole numbers", text_of(axes));
  }
  std::vector<int64_t> labels(static_cast<size_t>(clouds_));
  if (!labels.empty() && H5Dread(dataset.id(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, labels.data()) < 0) {
    refuse(file_, "the HDF5 library cannot read its labels");
  }
  return labels;
}

PointCloud read_hdf5(const FileContent& file) {
  const Hdf5Clouds clouds(file);
  return to_cloud(clouds.points(chosen_index(file, clouds.clouds())), file.name);
}

int64_t count_hdf5(const FileContent& file) { return Hdf5Clouds(file).clouds(); }

}  // namespace graft::data
