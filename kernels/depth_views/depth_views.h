#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

// Depth views of point clouds, as PointCLIP V2 and CLIPoint3D draw them: a grid of depth slices, pooled, smoothed, seen from the front.
namespace graft::kernels {

/// A rotation, row by row: p' = R p.
using Rotation = std::array<float, 9>;

/// The ten views of PointCLIP V2: four tilted turns, four level ones, both poles; each leaned a little (by π/9, the poles by π/15).
std::vector<Rotation> standard_views();

constexpr int64_t kDepthGrid = 112;   ///< cells a side
constexpr int64_t kDepthSlices = 8;
constexpr int64_t kDepthImage = 110;  ///< pixels a side before they are stretched: what the pooling leaves of the grid
constexpr float kDepthSpan = 0.8f;    ///< of the picture that the cloud's longest side fills

/// Clouds of any length, end to end: cloud i has points [starts[i], starts[i + 1]), each x y z.
struct PointClouds {
  std::span<const float> points;     ///< (P, 3)
  std::span<const int64_t> starts;   ///< (clouds + 1)
  int64_t count() const { return static_cast<int64_t>(starts.size()) - 1; }
};

/// One picture for each cloud and view, (clouds, views, side, side) in [0, 1]: background 1, nearest point 0; stretched from 110 pixels with
/// corners on corners.
///
/// Position and size of a cloud do not matter, nor the order of its points: each view is centred on its bounding box and scaled by its
/// longest side. Points with a coordinate that is no number, or beyond 1e37, are left out; a cloud without points gives a white picture; one whose points
/// fall together, a spot in the middle.
/// The same bits for any number of threads. Source: card of CLIPoint3D, step 1, after PointCLIP V2 (arXiv:2211.11682).
void depth_views(const PointClouds& clouds, std::span<const Rotation> views, int64_t side, float* pictures);

/// The same in plain loops, with sums in double.
void depth_views_reference(const PointClouds& clouds, std::span<const Rotation> views, int64_t side, float* pictures);

}  // namespace graft::kernels
