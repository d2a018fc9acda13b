#pragma once

// Private to this folder: what all variants do alike, up to the grid of depth values; a CUDA device runs the same text.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "kernels/base/host_device.h"
#include "kernels/depth_views/depth_views.h"

namespace graft::kernels::detail {

/// Where a point falls, and the depth that is kept there (the largest, the nearest to the eye).
struct Splat {
  int32_t slice, row, column;
  float depth;  ///< 1 to 6
};

/// Middle and longest side of the rotated cloud's bounding box.
struct Frame {
  std::array<float, 3> middle{};
  float side = 0;
  bool empty = true;
};

/// Coordinates up to here can be rotated and subtracted without becoming infinite. NaN compares as false.
constexpr float kFurthest = 1e37f;

GRAFT_HOST_DEVICE inline bool is_point(const float* p) {
  return std::abs(p[0]) <= kFurthest && std::abs(p[1]) <= kFurthest && std::abs(p[2]) <= kFurthest;
}

GRAFT_HOST_DEVICE inline std::array<float, 3> rotated(const float* p, const Rotation& r) {
  return {r[0] * p[0] + r[1] * p[1] + r[2] * p[2], r[3] * p[0] + r[4] * p[1] + r[5] * p[2], r[6] * p[0] + r[7] * p[1] + r[8] * p[2]};
}

GRAFT_HOST_DEVICE inline Frame frame_between(const std::array<float, 3>& low, const std::array<float, 3>& high) {
  Frame frame;
  frame.empty = false;
  for (size_t a = 0; a < 3; ++a) {
    frame.middle[a] = 0.5f * low[a] + 0.5f * high[a];
    frame.side = std::max(frame.side, high[a] - low[a]);
  }
  return frame;
}

Frame frame_of(std::span<const float> points, const Rotation& view);

/// R_y(lean) R_x(x) R_y(y) R_z(z), angles in radians.
Rotation turned(double x, double y, double z, double lean);

/// The rotated point in the frame -> its cell.
GRAFT_HOST_DEVICE inline Splat splat_of(const std::array<float, 3>& p, const Frame& frame) {
  constexpr float kHalf = kDepthGrid / 2, kBehind = 0.2f;  // share of the depth that stays free behind the cloud
  // A side below the normal numbers has no finite reciprocal: such a cloud is a spot.
  const float scale = frame.side >= std::numeric_limits<float>::min() ? 2 / frame.side : 0;
  const auto cell = [&](size_t axis) {
    const float at = std::ceil(kHalf * ((p[axis] - frame.middle[axis]) * scale * kDepthSpan + 1));
    return static_cast<int32_t>(std::clamp(at, 1.0f, static_cast<float>(kDepthGrid - 2)));
  };
  const float z = (p[2] - frame.middle[2]) * scale, depth = (kDepthSlices - 2) * ((z + 1) / 2 + kBehind) / (1 + kBehind);
  const float inside = std::clamp(depth, 1.0f, static_cast<float>(kDepthSlices - 2));
  // Rows follow x and columns y: the views' quarter turn about z has laid the cloud on its side.
  return {static_cast<int32_t>(std::ceil(inside)), cell(0), cell(1), inside};
}

/// Weights of the 3 x 3 Gaussian with sigma 3, which is a product of (edge, middle, edge) with itself.
struct GaussianTaps {
  double middle, edge;
};
GaussianTaps gaussian_taps();

/// Between which two of 110 pixels the pixel `i` of `side` lies, and how far it is to the second.
struct Place {
  int64_t first, second;
  float share;
};
GRAFT_HOST_DEVICE inline Place place_of(int64_t i, int64_t side) {
  const float step = side > 1 ? static_cast<float>(kDepthImage - 1) / static_cast<float>(side - 1) : 0;
  const float at = static_cast<float>(i) * step;
  const int64_t whole = static_cast<int64_t>(at), first = whole < kDepthImage ? whole : kDepthImage - 1;
  return {first, first + 1 < kDepthImage ? first + 1 : first, at - static_cast<float>(first)};
}

/// (110, 110) -> (side, side), corners on corners.
void stretch(const float* image, int64_t stride, int64_t side, float* picture);

}  // namespace graft::kernels::detail
