#pragma once

// Private to this folder: what the reference and the fast variant do alike, up to the grid of depth values.

#include <array>
#include <cstdint>
#include <span>

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

bool is_point(const float* point);
std::array<float, 3> rotated(const float* point, const Rotation& view);
Frame frame_of(std::span<const float> points, const Rotation& view);
/// The rotated point in the frame -> its cell.
Splat splat_of(const std::array<float, 3>& point, const Frame& frame);

/// Weights of the 3 x 3 Gaussian with sigma 3, which is a product of (edge, middle, edge) with itself.
struct GaussianTaps {
  double middle, edge;
};
GaussianTaps gaussian_taps();

/// (110, 110) -> (side, side), corners on corners.
void stretch(const float* image, int64_t stride, int64_t side, float* picture);

}  // namespace graft::kernels::detail
