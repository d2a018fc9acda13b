#include "tests/data_loaders/cloud/cloud_samples.h"

#include <hdf5.h>
#include <minizip/zip.h>

#include <algorithm>
#include <cstring>

#include "kernels/base/error.h"
#include "tests/support/temp_dir.h"

namespace graft::testing {
namespace {

template <class T>
void put(std::string& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

template <class T>
void add(std::string& bytes, T value, bool big_endian = false) {
  std::string piece(sizeof value, '\0');
  std::memcpy(piece.data(), &value, sizeof value);
  if (big_endian) std::reverse(piece.begin(), piece.end());
  bytes += piece;
}

std::string pcd_head(const std::string& data) {
  return "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z intensity label rgb\nSIZE 4 4 4 4 4 4\nTYPE F F F F U U\nCOUNT 1 1 1 "
         "1 1 1\n"
         "WIDTH 8\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 8\nDATA " +
         data + "\n";
}

constexpr uint32_t kColour = 0x00102030;

/// The points' records, or in the compressed form field after field.
std::string pcd_body(bool by_field) {
  const auto points = box_points();
  std::string body;
  const auto add_value = [&](size_t point, size_t field) {
    if (field < 3)
      add(body, points[3 * point + field]);
    else if (field == 3)
      add(body, 0.5f);
    else if (field == 4)
      add(body, static_cast<uint32_t>(point));
    else
      add(body, kColour);
  };
  for (size_t outer = 0; outer < (by_field ? 6u : 8u); ++outer) {
    for (size_t inner = 0; inner < (by_field ? 8u : 6u); ++inner) by_field ? add_value(inner, outer) : add_value(outer, inner);
  }
  return body;
}

}  // namespace

std::vector<float> box_points() {
  std::vector<float> points;
  for (int corner = 0; corner < 8; ++corner) {
    for (const float value : {corner & 1 ? 1.f : 0.f, corner & 2 ? 2.f : 0.f, corner & 4 ? 3.f : 0.f}) points.push_back(value);
  }
  return points;
}

std::string pcd_text() {
  auto text = pcd_head("ascii");
  const auto points = box_points();
  for (size_t i = 0; i < 8; ++i) {
    for (size_t axis = 0; axis < 3; ++axis) text += std::to_string(points[3 * i + axis]) + " ";
    text += "0.5 " + std::to_string(i) + " " + std::to_string(kColour) + "\n";
  }
  return text;
}

std::string pcd_binary() { return pcd_head("binary") + pcd_body(false); }

std::string pcd_compressed() {
  const auto body = pcd_body(true);
  std::string packed;
  for (size_t at = 0; at < body.size(); at += 32) {
    const auto run = body.substr(at, 32);
    packed += static_cast<char>(run.size() - 1);
    packed += run;
  }
  std::string sizes;
  add(sizes, static_cast<uint32_t>(packed.size()));
  add(sizes, static_cast<uint32_t>(body.size()));
  return pcd_head("binary_compressed") + sizes + packed;
}

std::string ply_text() {
  std::string text =
      "ply\nformat ascii 1.0\ncomment made here\nelement vertex 8\nproperty double x\nproperty double y\nproperty double z\nproperty uchar red\n"
      "property uchar green\nproperty uchar blue\nproperty int label\nproperty float intensity\nend_header\n";
  const auto points = box_points();
  for (size_t i = 0; i < 8; ++i) {
    for (size_t axis = 0; axis < 3; ++axis) text += std::to_string(points[3 * i + axis]) + " ";
    text += "16 32 48 " + std::to_string(i) + " 0.5\n";
  }
  return text;
}

std::string ply_binary(bool big_endian) {
  std::string bytes = std::string("ply\r\nformat binary_") + (big_endian ? "big" : "little") +
                      "_endian 1.0\r\nelement vertex 8\r\nproperty float x\r\nproperty float y\r\n"
                      "property float z\r\nelement face 2\r\nproperty list uchar int vertex_indices\r\nproperty short flags\r\nend_header\r\n";
  for (const float value : box_points()) add(bytes, value, big_endian);
  add(bytes, uint8_t{4});
  for (const int32_t corner : {0, 1, 3, 2}) add(bytes, corner, big_endian);
  add(bytes, int16_t{-7}, big_endian);
  add(bytes, uint8_t{3});
  for (const int32_t corner : {4, 5, 7}) add(bytes, corner, big_endian);
  add(bytes, int16_t{-7}, big_endian);
  return bytes;
}

std::string off_text() {
  return "OFF7 2 0\n# a comment between\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n\n10 0 0 # the triangle\n12 0 0\n10 3 0\n4 0 1 2 3 255 0 0\n3 4 5 6\n";
}

std::string las_file(const LasSample& sample) {
  constexpr std::array<size_t, 11> kLengths = {20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67};
  constexpr std::array<size_t, 11> kColours = {0, 0, 20, 28, 0, 28, 0, 30, 30, 0, 30};
  const auto format = static_cast<size_t>(sample.format);
  const size_t head = sample.minor >= 4 ? 375 : sample.minor == 3 ? 235 : 227, begin = head + sample.variable_records * 60;
  const size_t length = kLengths[format] + sample.extra_bytes;
  std::string bytes(begin + sample.points * length, '\0');
  bytes.replace(0, 4, "LASF");
  put(bytes, 24, uint8_t{1});
  put(bytes, 25, static_cast<uint8_t>(sample.minor));
  put(bytes, 94, static_cast<uint16_t>(head));
  put(bytes, 96, static_cast<uint32_t>(begin));
  put(bytes, 100, static_cast<uint32_t>(sample.variable_records));
  put(bytes, 104, static_cast<uint8_t>(format));
  put(bytes, 105, static_cast<uint16_t>(length));
  if (sample.minor < 4 || format < 6) put(bytes, 107, static_cast<uint32_t>(sample.points));
  if (sample.minor >= 4) put(bytes, 247, static_cast<uint64_t>(sample.points));
  for (size_t axis = 0; axis < 3; ++axis) {
    put(bytes, 131 + 8 * axis, sample.scale[axis]);
    put(bytes, 155 + 8 * axis, sample.offset[axis]);
  }
  for (size_t i = 0; i < sample.variable_records; ++i) put(bytes, head + 60 * i + 20, uint16_t{6});
  const auto points = box_points();
  for (size_t i = 0; i < sample.points; ++i) {
    const size_t at = begin + i * length;
    for (size_t axis = 0; axis < 3; ++axis)
      put(bytes, at + 4 * axis, sample.scale[axis] == 0 ? 0 : static_cast<int32_t>(points[3 * i + axis] / sample.scale[axis] + 0.5));
    put(bytes, at + 12, static_cast<uint16_t>(1000 + i));
    put(bytes, at + (format < 6 ? 15 : 16), static_cast<uint8_t>(format < 6 ? 0x80 | 5 : 200));
    for (size_t c = 0; kColours[format] != 0 && c < 3; ++c) put(bytes, at + kColours[format] + 2 * c, static_cast<uint16_t>((c + 1) * 0x1000));
  }
  return bytes;
}

std::string npy_file(const std::string& type, const std::string& shape, const std::string& data, bool fortran) {
  const auto quoted = type.starts_with("[") ? type : "'" + type + "'";
  std::string header = "{'descr': " + quoted + ", 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }";
  header.resize((header.size() + 10 + 64) / 64 * 64 - 11, ' ');
  header += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += std::string("\x01\x00", 2);
  add(bytes, static_cast<uint16_t>(header.size()));
  return bytes + header + data;
}

std::string bytes_of(const std::vector<float>& values) { return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)}; }
std::string bytes_of(const std::vector<double>& values) { return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)}; }

void write_hdf5(const std::filesystem::path& file, int64_t clouds, int64_t points, const std::vector<uint8_t>& labels) {
  std::vector<float> values;
  for (int64_t i = 0; i < clouds * points * 3; ++i) values.push_back(static_cast<float>(i / 3 / points * 100 + i / 3 % points * 10 + i % 3));
  const hid_t id = H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const auto write = [id](const char* name, const std::vector<hsize_t>& axes, hid_t type, const void* data) {
    const hid_t space = H5Screate_simple(static_cast<int>(axes.size()), axes.data(), nullptr);
    const hid_t set = H5Dcreate2(id, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    H5Dclose(set);
    H5Sclose(space);
  };
  write("data", {static_cast<hsize_t>(clouds), static_cast<hsize_t>(points), 3}, H5T_NATIVE_FLOAT, values.data());
  if (!labels.empty()) write("label", {labels.size(), 1}, H5T_NATIVE_UINT8, labels.data());
  H5Fclose(id);
}

void write_npz(const std::filesystem::path& file, const std::vector<std::pair<std::string, std::string>>& arrays, bool deflate) {
  void* zip = zipOpen64(file.c_str(), APPEND_STATUS_CREATE);
  for (const auto& [name, bytes] : arrays) {
    zipOpenNewFileInZip64(zip, (name + ".npy").c_str(), nullptr, nullptr, 0, nullptr, 0, nullptr, deflate ? 8 : 0, 6, 0);
    zipWriteInFileInZip(zip, bytes.data(), static_cast<unsigned>(bytes.size()));
    zipCloseFileInZip(zip);
  }
  zipClose(zip, nullptr);
}

data::PointCloud read_bytes(const std::filesystem::path& file, const std::string& bytes, const data::ReadOptions& options) {
  write_text(file, bytes);
  return data::read_cloud({.path = file}, options);
}

std::string refusal_of(const data::CloudFile& file, const data::ReadOptions& options) {
  try {
    data::read_cloud(file, options);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::string refusal_of_bytes(const std::filesystem::path& file, const std::string& bytes) {
  write_text(file, bytes);
  return refusal_of({.path = file});
}

}  // namespace graft::testing
