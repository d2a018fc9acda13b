#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "data_loaders/cloud/point_cloud.h"
#include "pipelines/cloud/projection.h"

namespace graft::pipelines {

/// The depth pictures of each cloud (kernels/depth_views), upright: the views take y for up, and clouds come with z up.
///
/// Axes     B clouds, M = view_count(projection) views, S `side`.
/// Returns  (B, M, S, S) fp32. pointclip_v2: in [0, 1], background 1, nearest point 0. Others: depths up to 2.6 (from the eye, the cloud's radius
///          being 1), background 0, stretched to S with corners on corners.
at::Tensor draw_views(std::span<const data::PointCloud> clouds, int64_t side, Projection projection = Projection::kPointclipV2);

/// Views as CLIP's image tower takes them: (B, M, S, S) -> (B * M, 3, S, S), three equal channels, without CLIP's mean and deviation (as
/// PointCLIP, PointCLIP V2 and CLIPoint3D feed them).
at::Tensor as_images(const at::Tensor& views);

/// Views for people to look at: the same with values in [0, 1].
at::Tensor shown_views(const at::Tensor& views, Projection projection);

}  // namespace graft::pipelines
