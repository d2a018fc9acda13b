#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "data_loaders/cloud/point_cloud.h"

namespace graft::pipelines {

/// The ten depth pictures of each cloud (kernels/depth_views), upright: the views take y for up, and clouds come with z up.
///
/// Axes     B clouds, M = 10 views, S `side`.
/// Returns  (B, M, S, S) fp32 in [0, 1]: background 1, nearest point 0.
at::Tensor draw_views(std::span<const data::PointCloud> clouds, int64_t side);

/// Views as CLIP's image tower takes them: (B, M, S, S) -> (B * M, 3, S, S), three equal channels, without CLIP's mean and deviation (as
/// PointCLIP V2 and CLIPoint3D feed them).
at::Tensor as_images(const at::Tensor& views);

}  // namespace graft::pipelines
