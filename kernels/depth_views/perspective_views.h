#pragma once

#include "kernels/depth_views/depth_views.h"

// Depth views of point clouds as PointCLIP draws them: seen by an eye at some distance, each point a small patch, far bright, empty black.
// A baseline: one plain implementation, which is its own reference.
namespace graft::kernels {

/// From where a cloud is seen, and how finely.
struct PerspectiveEye {
  std::vector<Rotation> views;  ///< p' = R p; a picture's rows follow x', its columns y', the eye looks along z'
  double distance = 0;          ///< of the eye from the cloud's mean, whose furthest point lies at 1; above 1
  int64_t grid = 0;             ///< pixels a side
  int64_t patch = 4;            ///< pixels a side that a point covers: 1, or an even number
};

/// The six views of the zero-shot method: four level turns and both poles, from 1.6 away, 128 pixels.
/// The released code's functions take a patch of 4 unless told otherwise, and its own call asks for 1; the paper speaks of one pixel. Here it is 4.
PerspectiveEye pointclip_zero_shot_eye();

/// The ten views of the few-shot method: the six with four tilted ones before the poles, from 1.4 away, 224 pixels.
PerspectiveEye pointclip_few_shot_eye();

/// One picture for each cloud and view, (clouds, views, grid, grid): a pixel's depth is the harmonic mean of the distances z' of the points that
/// cover it, between distance − 1 and distance + 1, and 0 where there is none.
///
/// Equations  p <- R (p − mean) / largest norm;  z = p_z + distance;  (row, column) = ⌈grid / 2 · (p_x / z + 1) − patch / 2⌉ and the same of y, the
///            first of `patch` rows and columns; depth = count / Σ 1 / z. What lies outside the picture is left out.
/// Position and size of a cloud do not matter, nor (but for the rounding of sums in double) the order of its points. Points with a coordinate that is no
/// number, or beyond 1e37, are left out; a cloud without points gives zeros; one whose points fall together, a patch at `distance`.
/// The same bits for any number of threads.
/// Throws     InvalidArgument for a distance not above 1, an empty grid, another patch.
/// Source     card of CLIPoint3D, 2.8 (PointCLIP, arXiv:2112.02413), and the released code for the ten views and the rounding. Inferred: the
///            placing of the cloud, which the published data brings along, and what a cloud without extent gives.
void perspective_views(const PointClouds& clouds, const PerspectiveEye& eye, float* pictures);

}  // namespace graft::kernels
