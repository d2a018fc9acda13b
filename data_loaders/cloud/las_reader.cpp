#include <algorithm>
#include <array>
#include <cmath>

#include "data_loaders/cloud/cloud_readers.h"

// LAS 1.1 to 1.4 after the ASPRS specification (LAS 1.4 R15): all numbers little-endian, at fixed places.
namespace graft::data {
namespace {

constexpr size_t kNoColour = 0;

/// Where a point record of each format keeps what is read here.
struct RecordLayout {
  size_t length;  ///< without extra bytes
  size_t classification;
  size_t colour;  ///< kNoColour: none
};
constexpr std::array<RecordLayout, 11> kLayouts = {{{20, 15, kNoColour},
                                                    {28, 15, kNoColour},
                                                    {26, 15, 20},
                                                    {34, 15, 28},
                                                    {57, 15, kNoColour},
                                                    {63, 15, 28},
                                                    {30, 16, kNoColour},
                                                    {36, 16, 30},
                                                    {38, 16, 30},
                                                    {59, 16, kNoColour},
                                                    {67, 16, 30}}};
constexpr size_t kFirstLongFormat = 6;  ///< from here on the classification has a byte of its own

struct LasHeader {
  int minor = 0;
  size_t format = 0;
  uint64_t header_length = 0, points_at = 0, record_length = 0, count = 0;
  std::array<double, 3> scale{}, offset{};
};

size_t least_header(int minor) { return minor >= 4 ? 375 : minor == 3 ? 235 : 227; }

void refuse_compressed(const FileContent& file) {
  const auto name = file.path.filename().string();
  const auto stem = file.path.stem().string();
  throw Unavailable({.where = file.name,
                     .what = "is compressed LAS (LAZ), which is not read here",
                     .hint = "unpack it first: pdal translate " + name + " " + stem + ".las (Debian: apt-get install pdal), or laszip -i " + name +
                             " -o " + stem + ".las"});
}

uint64_t point_count(const FileContent& file, int minor) {
  const uint64_t legacy = load<uint32_t>(file.bytes, 107);
  if (minor < 4) return legacy;
  const auto count = load<uint64_t>(file.bytes, 247);
  if (legacy != 0 && legacy != count) refuse(file, "its two point counts differ", std::to_string(legacy), std::to_string(count));
  return count;
}

LasHeader read_header(const FileContent& file) {
  LasHeader header;
  if (file.bytes.size() < 227 || !file.bytes.starts_with("LASF")) refuse(file, "not a LAS file", "LASF and a header of 227 bytes or more");
  const int major = load<uint8_t>(file.bytes, 24);
  header.minor = load<uint8_t>(file.bytes, 25);
  if (major != 1 || header.minor < 1 || header.minor > 4) {
    refuse(file, "LAS of another version", "1.1 to 1.4", std::to_string(major) + "." + std::to_string(header.minor));
  }
  const size_t format = load<uint8_t>(file.bytes, 104);
  if ((format & 0xC0) != 0) refuse_compressed(file);  // LASzip marks its files so
  if (format >= kLayouts.size()) refuse(file, "unknown point format", "0 to 10", std::to_string(format));
  header.format = format;
  header.header_length = load<uint16_t>(file.bytes, 94);
  header.points_at = load<uint32_t>(file.bytes, 96);
  header.record_length = load<uint16_t>(file.bytes, 105);
  const size_t least = least_header(header.minor);
  if (header.header_length < least || header.header_length > file.bytes.size()) {
    refuse(file, "wrong header length", "from " + std::to_string(least) + " to the file's " + std::to_string(file.bytes.size()),
           std::to_string(header.header_length));
  }
  header.count = point_count(file, header.minor);
  for (size_t axis = 0; axis < 3; ++axis) {
    header.scale[axis] = load<double>(file.bytes, 131 + 8 * axis);
    header.offset[axis] = load<double>(file.bytes, 155 + 8 * axis);
  }
  return header;
}

/// The records between header and points: each must lie where it says.
void check_variable_records(const FileContent& file, const LasHeader& header) {
  constexpr uint64_t kRecordHeader = 54;
  const uint64_t count = load<uint32_t>(file.bytes, 100);
  uint64_t at = header.header_length;
  for (uint64_t i = 0; i < count; ++i) {
    const bool fits = at + kRecordHeader <= header.points_at;
    const uint64_t length = fits ? kRecordHeader + load<uint16_t>(file.bytes, at + 20) : 0;
    if (!fits || at + length > header.points_at) {
      refuse(file, "variable length record " + std::to_string(i) + " of " + std::to_string(count) + " runs into the points",
             "an end before byte " + std::to_string(header.points_at), std::to_string(at + length));
    }
    at += length;
  }
}

void check_sizes(const FileContent& file, const LasHeader& header) {
  const auto& layout = kLayouts[header.format];
  if (header.record_length < layout.length) {
    refuse(file, "point records are too short for format " + std::to_string(header.format), std::to_string(layout.length) + " bytes or more",
           std::to_string(header.record_length));
  }
  if (header.points_at < header.header_length || header.points_at > file.bytes.size()) {
    refuse(file, "the points begin outside the file", std::to_string(header.header_length) + ".." + std::to_string(file.bytes.size()),
           std::to_string(header.points_at));
  }
  check_variable_records(file, header);
  const uint64_t room = (file.bytes.size() - header.points_at) / header.record_length;
  if (header.count > room) {
    refuse(file, "the file ends before its points", std::to_string(header.count) + " points", "room for " + std::to_string(room),
           "it may have been cut off");
  }
  for (size_t axis = 0; axis < 3; ++axis) {
    if (!std::isfinite(header.scale[axis]) || header.scale[axis] == 0 || !std::isfinite(header.offset[axis])) {
      refuse(file, std::string("no usable scale and offset for ") + "xyz"[axis], "finite numbers, a scale that is not 0",
             std::to_string(header.scale[axis]) + " and " + std::to_string(header.offset[axis]));
    }
  }
}

/// Colours have 16 bits, but many writers fill 8 of them.
std::vector<uint8_t> eight_bits(const std::vector<uint16_t>& colours) {
  const bool wide = std::any_of(colours.begin(), colours.end(), [](uint16_t c) { return c > 255; });
  std::vector<uint8_t> narrow(colours.size());
  std::transform(colours.begin(), colours.end(), narrow.begin(), [&](uint16_t c) { return static_cast<uint8_t>(wide ? c >> 8 : c); });
  return narrow;
}

}  // namespace

PointCloud read_las(const FileContent& file) {
  const auto header = read_header(file);
  check_sizes(file, header);
  const auto& layout = kLayouts[header.format];
  RawPoints raw;
  std::vector<uint16_t> colours;
  raw.xyz.reserve(header.count * 3);
  for (uint64_t i = 0; i < header.count; ++i) {
    const auto record = file.bytes.substr(header.points_at + i * header.record_length, header.record_length);
    for (size_t axis = 0; axis < 3; ++axis) raw.xyz.push_back(load<int32_t>(record, 4 * axis) * header.scale[axis] + header.offset[axis]);
    raw.intensity.push_back(load<uint16_t>(record, 12));
    const auto classification = load<uint8_t>(record, layout.classification);
    raw.labels.push_back(header.format < kFirstLongFormat ? classification & 31 : classification);
    for (size_t c = 0; layout.colour != kNoColour && c < 3; ++c) colours.push_back(load<uint16_t>(record, layout.colour + 2 * c));
  }
  raw.colours = eight_bits(colours);
  auto cloud = to_cloud(std::move(raw), file.name);
  cloud.up = UpAxis::kZ;
  cloud.notes.push_back("LAS 1." + std::to_string(header.minor) + ", point format " + std::to_string(header.format));
  return cloud;
}

}  // namespace graft::data
