#pragma once

#include <cstdint>

#include "kernels/depth_views/depth_views.h"

namespace graft::kernels {

/// PointClouds whose parts lie in a device's memory.
struct DeviceClouds {
  const float* points;    ///< (P, 3)
  const int64_t* starts;  ///< (count + 1), rising from 0 to P; not checked, since the host cannot see them
  int64_t count;
};

/// Floats of scratch that depth_views_cuda() takes.
int64_t depth_views_scratch(int64_t clouds, int64_t views);

/// depth_views() on a CUDA stream, without waiting for it.
/// Shapes   views: (view_count, 9), rotations row by row; pictures: (count, view_count, side, side); scratch: depth_views_scratch() floats.
///          All are device memory of their types' alignment. stream: a cudaStream_t, null for the default one.
/// The same bits on every run: the one atomic operation is a maximum.
/// Throws   InvalidArgument for negative counts or sides, Unavailable without CUDA kernels or if a launch fails.
void depth_views_cuda(const DeviceClouds& clouds, const float* views, int64_t view_count, int64_t side, float* pictures, float* scratch,
                      void* stream);

}  // namespace graft::kernels
