#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace graft::data {

/// Which way is up in a cloud's own coordinates.
enum class UpAxis { kUnknown, kX, kY, kZ };

const char* name_of(UpAxis axis);
/// "x", "y", "z" or "auto" (kUnknown). Throws InvalidArgument.
UpAxis up_axis_named(const std::string& name);

/// One scan or object. Attributes are empty where the file has none, else one entry (colours: three) a point.
///
/// Point i lies at origin + points[3 i ...]. The origin is (0, 0, 0) unless a coordinate goes beyond kFarCoordinate: then it is a whole
/// number near the middle of the cloud, so that UTM coordinates (millions of metres) keep their millimetres in float.
struct PointCloud {
  std::array<double, 3> origin{};
  std::vector<float> points;       ///< (n, 3), always finite
  std::vector<uint8_t> colours;    ///< (n, 3) red, green, blue
  std::vector<int32_t> labels;     ///< (n) label of each point; in LAS its classification
  std::vector<float> intensity;    ///< (n), the sensor's own unit
  std::string source;              ///< path, with "#17" where a file holds many clouds
  UpAxis up = UpAxis::kUnknown;    ///< known where the format says so (LAS: z)
  int64_t dropped = 0;             ///< points left out: a coordinate was no number, or beyond kLargestCoordinate
  std::vector<std::string> notes;  ///< what a reader decided by itself, for a report

  int64_t size() const { return static_cast<int64_t>(points.size() / 3); }
  std::array<double, 3> position(int64_t i) const;
};

/// From here on float keeps less than half a millimetre of a metre.
constexpr double kFarCoordinate = 8192;
/// No place on earth is as far away in millimetres; beyond it squared distances leave float's range.
constexpr double kLargestCoordinate = 1e12;

/// What readers collect before it becomes a cloud.
struct RawPoints {
  std::vector<double> xyz;       ///< (n, 3)
  std::vector<uint8_t> colours;  ///< as in PointCloud
  std::vector<int32_t> labels;
  std::vector<float> intensity;

  int64_t size() const { return static_cast<int64_t>(xyz.size() / 3); }
};

/// Drops what is no position (counted), chooses the origin. Throws IoError if nothing is left: an empty cloud has no class.
PointCloud to_cloud(RawPoints raw, const std::string& source);

/// The points at the indices, with their attributes, in that order; an index may come twice.
PointCloud take_points(const PointCloud& cloud, const std::vector<int64_t>& indices);

}  // namespace graft::data
