#include <algorithm>
#include <vector>

#include "kernels/depth_views/splat.h"

namespace graft::kernels {
namespace {

using namespace detail;

/// A square of numbers; outside it lies 0.
struct Square {
  explicit Square(int64_t side_) : side(side_), values(static_cast<size_t>(side_ * side_)) {}
  double at(int64_t row, int64_t column) const {
    if (row < 0 || column < 0 || row >= side || column >= side) return 0;
    return values[static_cast<size_t>(row * side + column)];
  }
  double& put(int64_t row, int64_t column) { return values[static_cast<size_t>(row * side + column)]; }
  int64_t side;
  std::vector<double> values;
};

Square pooled(const Square& slice) {
  Square result(kDepthImage);
  for (int64_t r = 0; r < kDepthImage; ++r)
    for (int64_t c = 0; c < kDepthImage; ++c)
      for (int64_t i = -2; i <= 4; ++i)
        for (int64_t j = -2; j <= 4; ++j) result.put(r, c) = std::max(result.at(r, c), slice.at(r + i, c + j));
  return result;
}

Square smoothed(const Square& image) {
  const auto taps = gaussian_taps();
  Square result(kDepthImage);
  for (int64_t r = 0; r < kDepthImage; ++r)
    for (int64_t c = 0; c < kDepthImage; ++c)
      for (int64_t i = -1; i <= 1; ++i)
        for (int64_t j = -1; j <= 1; ++j)
          result.put(r, c) += (i == 0 ? taps.middle : taps.edge) * (j == 0 ? taps.middle : taps.edge) * image.at(r + i, c + j);
  return result;
}

void picture_of(std::span<const float> points, const Rotation& view, int64_t side, float* picture) {
  const auto frame = frame_of(points, view);
  std::vector<Square> slices(kDepthSlices, Square(kDepthGrid));
  for (size_t i = 0; i + 2 < points.size(); i += 3) {
    if (!is_point(&points[i])) continue;
    const auto splat = splat_of(rotated(&points[i], view), frame);
    auto& cell = slices[static_cast<size_t>(splat.slice)].put(splat.row, splat.column);
    cell = std::max(cell, static_cast<double>(splat.depth));
  }
  Square image(kDepthImage);
  for (const auto& slice : slices) {
    const auto seen = smoothed(pooled(slice));
    for (size_t i = 0; i < image.values.size(); ++i) image.values[i] = std::max(image.values[i], seen.values[i]);
  }
  const double nearest = *std::max_element(image.values.begin(), image.values.end());
  std::vector<float> inverted;
  for (const double value : image.values) inverted.push_back(static_cast<float>(nearest > 0 ? 1 - value / nearest : 1));
  stretch(inverted.data(), kDepthImage, side, picture);
}

}  // namespace

void depth_views_reference(const PointClouds& clouds, std::span<const Rotation> views, int64_t side, float* pictures) {
  for (int64_t i = 0; i < clouds.count(); ++i) {
    const auto begin = clouds.starts[static_cast<size_t>(i)], end = clouds.starts[static_cast<size_t>(i + 1)];
    const auto points = clouds.points.subspan(static_cast<size_t>(3 * begin), static_cast<size_t>(3 * (end - begin)));
    for (const auto& view : views) picture_of(points, view, side, pictures), pictures += side * side;
  }
}

}  // namespace graft::kernels
