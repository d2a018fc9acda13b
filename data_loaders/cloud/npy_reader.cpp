#include <algorithm>
#include <sstream>
#include <xtensor/xnpy.hpp>

#include "data_loaders/cloud/cloud_readers.h"
#include "data_loaders/cloud/npy_layout.h"
#include "data_loaders/cloud/npz_file.h"

namespace graft::data {
namespace {

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

int64_t clouds_of(const NpyLayout& layout) { return layout.fields.empty() && layout.shape.size() == 3 ? layout.shape[0] : 1; }

/// The array as xtensor's parser takes it: its own reading of a header's length fails from 128 bytes on, and it knows version 3 not at all.
std::string canonical_npy(const NpyLayout& layout, const std::vector<int64_t>& shape, std::string_view data) {
  const char order = layout.type.size == 1 ? '|' : '<';
  std::string header = std::string("{'descr': '") + order + layout.type.kind + std::to_string(layout.type.size) +
                       "', 'fortran_order': " + (layout.fortran ? "True" : "False") + ", 'shape': " + text_of(shape) + ", }";
  header.resize(117, ' ');
  std::string text = "\x93NUMPY";
  text += '\x01';
  text += '\0';
  text += static_cast<char>(118);
  text += '\0';
  return (text + header + "\n").append(data);
}

/// x, y, z of all rows of the cloud at `index`.
template <class T>
std::vector<double> plain_values(const NpyLayout& layout, int64_t index) {
  const bool many = layout.shape.size() == 3;
  auto shape = layout.shape;
  auto data = layout.data;
  if (many && !layout.fortran) {  // a cloud is one piece of the file
    const auto bytes = data.size() / static_cast<size_t>(shape[0]);
    data = data.substr(static_cast<size_t>(index) * bytes, bytes);
    shape.erase(shape.begin());
  }
  std::istringstream stream(canonical_npy(layout, shape, data));
  const auto array = xt::load_npy<T>(stream);
  const int64_t rows = shape[shape.size() - 2];
  std::vector<double> values;
  values.reserve(static_cast<size_t>(rows) * 3);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < 3; ++c) values.push_back(static_cast<double>(shape.size() == 3 ? array(index, row, c) : array(row, c)));
  }
  return values;
}

std::vector<double> values_of(const NpyLayout& layout, int64_t index) {
  const auto [kind, size] = layout.type;
  if (kind == 'f') return size == 4 ? plain_values<float>(layout, index) : plain_values<double>(layout, index);
  if (kind == 'i') {
    return size == 1   ? plain_values<int8_t>(layout, index)
           : size == 2 ? plain_values<int16_t>(layout, index)
           : size == 4 ? plain_values<int32_t>(layout, index)
                       : plain_values<int64_t>(layout, index);
  }
  return size == 1   ? plain_values<uint8_t>(layout, index)
         : size == 2 ? plain_values<uint16_t>(layout, index)
         : size == 4 ? plain_values<uint32_t>(layout, index)
                     : plain_values<uint64_t>(layout, index);
}

void check_plain(const FileContent& file, const NpyLayout& layout) {
  const auto& shape = layout.shape;
  if ((shape.size() != 2 && shape.size() != 3) || shape.back() < 3 || shape.back() > 1024) {
    const bool turned = shape.size() == 2 && shape[0] == 3;
    refuse(file, "its array is no list of points", "(points, 3 or more) or (clouds, points, 3 or more)", text_of(shape),
           turned ? "turn it over: array.T" : "");
  }
}

double field_value(const NpyLayout& layout, const NpyField& field, int64_t row) {
  const auto at = static_cast<size_t>(row * layout.item_bytes + field.offset);
  const auto [kind, size] = field.type;
  if (kind == 'f') return size == 4 ? load<float>(layout.data, at) : load<double>(layout.data, at);
  if (kind == 'i') {
    return size == 1   ? load<int8_t>(layout.data, at)
           : size == 2 ? load<int16_t>(layout.data, at)
           : size == 4 ? load<int32_t>(layout.data, at)
                       : static_cast<double>(load<int64_t>(layout.data, at));
  }
  return size == 1   ? load<uint8_t>(layout.data, at)
         : size == 2 ? load<uint16_t>(layout.data, at)
         : size == 4 ? load<uint32_t>(layout.data, at)
                     : static_cast<double>(load<uint64_t>(layout.data, at));
}

const NpyField* field_named(const NpyLayout& layout, const std::string& name) {
  const auto place = std::find_if(layout.fields.begin(), layout.fields.end(), [&](const auto& field) { return field.name == name; });
  return place == layout.fields.end() ? nullptr : &*place;
}

/// xtensor knows no records.
RawPoints record_points(const FileContent& file, const NpyLayout& layout) {
  const std::array<const NpyField*, 3> xyz = {field_named(layout, "x"), field_named(layout, "y"), field_named(layout, "z")};
  const std::array<const NpyField*, 3> colour = {field_named(layout, "red"), field_named(layout, "green"), field_named(layout, "blue")};
  const auto* intensity = field_named(layout, "intensity");
  const bool coloured =
      std::all_of(colour.begin(), colour.end(), [](const auto* f) { return f != nullptr && f->type.kind == 'u' && f->type.size == 1; });
  if (xyz[0] == nullptr || xyz[1] == nullptr || xyz[2] == nullptr) refuse(file, "its records lack a field x, y or z");
  RawPoints raw;
  for (int64_t row = 0; row < layout.items(); ++row) {
    for (const auto* field : xyz) raw.xyz.push_back(field_value(layout, *field, row));
    for (const auto* field : colour) {
      if (coloured) raw.colours.push_back(static_cast<uint8_t>(field_value(layout, *field, row)));
    }
    if (intensity != nullptr) raw.intensity.push_back(static_cast<float>(field_value(layout, *intensity, row)));
  }
  return raw;
}

PointCloud read_array(const FileContent& file, std::string_view bytes) {
  const auto layout = read_npy_layout(file, bytes);
  if (layout.fields.empty()) check_plain(file, layout);
  const int64_t index = chosen_index(file, clouds_of(layout));
  if (!layout.fields.empty()) return to_cloud(record_points(file, layout), file.name);
  if (layout.items() == 0) return to_cloud({}, file.name);
  try {
    return to_cloud({.xyz = values_of(layout, index)}, file.name);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& problem) {
    refuse(file, std::string("xtensor could not read it: ") + problem.what());
  }
}

int64_t count_array(const FileContent& file, std::string_view bytes) {
  const auto layout = read_npy_layout(file, bytes);
  if (layout.fields.empty()) check_plain(file, layout);
  return clouds_of(layout);
}

}  // namespace

PointCloud read_npy(const FileContent& file) { return read_array(file, file.bytes); }
PointCloud read_npz(const FileContent& file) { return read_array(file, array_of_points(file)); }
int64_t count_npy(const FileContent& file) { return count_array(file, file.bytes); }
int64_t count_npz(const FileContent& file) { return count_array(file, array_of_points(file)); }

}  // namespace graft::data
