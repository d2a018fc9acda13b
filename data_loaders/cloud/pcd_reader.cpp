#include <pcl/console/print.h>
#include <pcl/io/pcd_io.h>

#include <sstream>

#include "data_loaders/cloud/cloud_readers.h"
#include "data_loaders/cloud/pcd_header.h"

namespace graft::data {
namespace {

/// PCL writes warnings to stderr; what matters of them becomes an error of ours.
class QuietPcl {
 public:
  QuietPcl() : before_(pcl::console::getVerbosityLevel()) { pcl::console::setVerbosityLevel(pcl::console::L_ALWAYS); }
  ~QuietPcl() { pcl::console::setVerbosityLevel(before_); }
  QuietPcl(const QuietPcl&) = delete;
  QuietPcl& operator=(const QuietPcl&) = delete;

 private:
  pcl::console::VERBOSITY_LEVEL before_;
};

/// Hands PCL a header of ours and the body from memory, so that it sees no size that was not checked.
void fill_blob(const FileContent& file, const PcdHeader& header, pcl::PCLPointCloud2& blob) {
  pcl::PCDReader reader;
  Eigen::Vector4f origin;
  Eigen::Quaternionf orientation;
  int version = 0, kind = 0, problem = 0;
  unsigned int body = 0;
  std::istringstream head(canonical_text(header));
  problem = reader.readHeader(head, blob, origin, orientation, version, kind, body);
  if (problem < 0) refuse(file, "PCL does not take its header");
  const auto rest = file.bytes.substr(header.body);
  if (header.data == PcdData::kAscii) {
    std::istringstream text{std::string(rest)};
    problem = reader.readBodyASCII(text, blob, version);
  } else {
    problem = reader.readBodyBinary(reinterpret_cast<const unsigned char*>(rest.data()), blob, version, header.data == PcdData::kCompressed, 0);
  }
  if (problem < 0) refuse(file, "PCL could not read its points", std::to_string(header.points()) + " points");
}

double value_at(const pcl::PCLPointCloud2& blob, size_t at, int type) {
  const std::string_view bytes(reinterpret_cast<const char*>(blob.data.data()), blob.data.size());
  switch (type) {
    case pcl::PCLPointField::INT8:
      return load<int8_t>(bytes, at);
    case pcl::PCLPointField::UINT8:
      return load<uint8_t>(bytes, at);
    case pcl::PCLPointField::INT16:
      return load<int16_t>(bytes, at);
    case pcl::PCLPointField::UINT16:
      return load<uint16_t>(bytes, at);
    case pcl::PCLPointField::INT32:
      return load<int32_t>(bytes, at);
    case pcl::PCLPointField::UINT32:
      return load<uint32_t>(bytes, at);
    case pcl::PCLPointField::FLOAT32:
      return load<float>(bytes, at);
    case pcl::PCLPointField::FLOAT64:
      return load<double>(bytes, at);
    case pcl::PCLPointField::INT64:
      return static_cast<double>(load<int64_t>(bytes, at));
    case pcl::PCLPointField::UINT64:
      return static_cast<double>(load<uint64_t>(bytes, at));
    default:
      return 0;
  }
}

const pcl::PCLPointField* field_named(const pcl::PCLPointCloud2& blob, std::initializer_list<const char*> names) {
  for (const auto& field : blob.fields) {
    for (const char* name : names) {
      if (field.name == name) return &field;
    }
  }
  return nullptr;
}

RawPoints points_of(const FileContent& file, const pcl::PCLPointCloud2& blob) {
  const std::array<const pcl::PCLPointField*, 3> xyz = {field_named(blob, {"x"}), field_named(blob, {"y"}), field_named(blob, {"z"})};
  const auto* colour = field_named(blob, {"rgb", "rgba"});
  const auto* label = field_named(blob, {"label", "class", "classification"});
  const auto* intensity = field_named(blob, {"intensity"});
  const size_t count = size_t{blob.width} * blob.height;
  if (xyz[0] == nullptr || xyz[1] == nullptr || xyz[2] == nullptr) refuse(file, "has no fields x, y and z");
  if (count * blob.point_step > blob.data.size()) refuse(file, "PCL read fewer points than its header says");
  if (colour != nullptr && colour->datatype != pcl::PCLPointField::FLOAT32 && colour->datatype != pcl::PCLPointField::UINT32) colour = nullptr;
  RawPoints raw;
  raw.xyz.reserve(count * 3);
  for (size_t i = 0; i < count; ++i) {
    const size_t at = i * blob.point_step;
    for (const auto* field : xyz) raw.xyz.push_back(value_at(blob, at + field->offset, field->datatype));
    // Packed as 0xAARRGGBB, in a float's bits too.
    for (size_t c = 0; colour != nullptr && c < 3; ++c) raw.colours.push_back(blob.data[at + colour->offset + 2 - c]);
    if (label != nullptr)
      raw.labels.push_back(static_cast<int32_t>(std::clamp(value_at(blob, at + label->offset, label->datatype), -2147483648.0, 2147483647.0)));
    if (intensity != nullptr) raw.intensity.push_back(static_cast<float>(value_at(blob, at + intensity->offset, intensity->datatype)));
  }
  return raw;
}

}  // namespace

PointCloud read_pcd(const FileContent& file) {
  const auto header = read_pcd_header(file);
  if (header.points() == 0) return to_cloud({}, file.name);
  const QuietPcl quiet;
  pcl::PCLPointCloud2 blob;
  try {
    fill_blob(file, header, blob);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& problem) {
    refuse(file, std::string("PCL could not read it: ") + problem.what());
  }
  return to_cloud(points_of(file, blob), file.name);
}

}  // namespace graft::data
