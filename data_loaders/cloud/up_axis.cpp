#include "data_loaders/cloud/up_axis.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/base/error.h"

namespace graft::data {
namespace {

constexpr size_t kSlabs = 10;

/// Share of the points by which the slabs along an axis differ from their mirror image, beyond what chance gives; in [0, 1].
double mirror_difference(const PointCloud& cloud, size_t axis) {
  const auto [low, high] = [&] {
    float least = cloud.points[axis], most = least;
    for (size_t i = axis; i < cloud.points.size(); i += 3) {
      least = std::min(least, cloud.points[i]);
      most = std::max(most, cloud.points[i]);
    }
    return std::pair(least, most);
  }();
  if (high <= low) return 0;
  std::array<double, kSlabs> counts{};
  for (size_t i = axis; i < cloud.points.size(); i += 3) {
    const auto slab = static_cast<size_t>((cloud.points[i] - low) / (high - low) * static_cast<float>(kSlabs));
    ++counts[std::min(slab, kSlabs - 1)];
  }
  double difference = 0;
  for (size_t s = 0; s < kSlabs / 2; ++s) {
    const double below = counts[s], above = counts[kSlabs - 1 - s];
    difference += std::max(0.0, std::abs(below - above) - 2 * std::sqrt(below + above));  // two standard deviations
  }
  return difference / static_cast<double>(cloud.size());
}

std::string evidence_text(const std::array<double, 3>& evidence) {
  char text[96];
  std::snprintf(text, sizeof text, "x %.3f, y %.3f, z %.3f", evidence[0], evidence[1], evidence[2]);
  return text;
}

}  // namespace

UpAxisFinding detect_up_axis(std::span<const PointCloud> clouds) {
  constexpr std::array<UpAxis, 3> kAxes = {UpAxis::kX, UpAxis::kY, UpAxis::kZ};
  UpAxisFinding finding;
  if (clouds.empty()) return {.why = "z by convention: there are no clouds to look at"};
  const bool told = std::all_of(clouds.begin(), clouds.end(), [&](const auto& c) { return c.up != UpAxis::kUnknown && c.up == clouds[0].up; });
  if (told) return {.axis = clouds[0].up, .why = std::string(name_of(clouds[0].up)) + ": the file format says so"};
  for (const auto& cloud : clouds) {
    if (cloud.size() == 0) continue;
    for (size_t axis = 0; axis < 3; ++axis) finding.evidence[axis] += mirror_difference(cloud, axis) / static_cast<double>(clouds.size());
  }
  const auto best = std::max_element(finding.evidence.begin(), finding.evidence.end());
  auto others = finding.evidence;
  std::sort(others.begin(), others.end());
  const bool clear = others[2] > 1.1 * others[1] && others[2] > 0;
  finding.axis = clear ? kAxes[static_cast<size_t>(best - finding.evidence.begin())] : UpAxis::kZ;
  finding.why = std::string(name_of(finding.axis)) +
                (clear ? ": top and bottom differ most" : " by convention: along no axis do the two ends differ clearly more") + " (" +
                evidence_text(finding.evidence) + "; " + std::to_string(clouds.size()) + (clouds.size() == 1 ? " cloud)" : " clouds)");
  return finding;
}

PointCloud with_z_up(PointCloud cloud, UpAxis up) {
  if (up == UpAxis::kUnknown) throw InvalidArgument({.where = cloud.source, .what = "its up axis is not known", .expected = "x, y or z"});
  const auto turn = [up](auto& x, auto& y, auto& z) {
    const auto old_x = x, old_y = y, old_z = z;
    if (up == UpAxis::kY) {
      y = -old_z;
      z = old_y;
    } else if (up == UpAxis::kX) {
      x = -old_z;
      z = old_x;
    }
  };
  for (size_t i = 0; i < cloud.points.size(); i += 3) turn(cloud.points[i], cloud.points[i + 1], cloud.points[i + 2]);
  turn(cloud.origin[0], cloud.origin[1], cloud.origin[2]);
  cloud.up = UpAxis::kZ;
  return cloud;
}

}  // namespace graft::data
