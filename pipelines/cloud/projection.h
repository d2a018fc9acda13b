#pragma once

#include <cstdint>

#include "peft_core/base/config.h"

namespace graft::pipelines {

/// How a cloud becomes pictures.
///   pointclip_v2   ten views, depth slices pooled and smoothed, near dark on white (kernels/depth_views/depth_views.h); also CLIPoint3D's
///   pointclip      six views in perspective, each point a patch of 4 pixels, far bright on black, as PointCLIP's zero-shot method draws them
///   pointclip_ten  the ten views of PointCLIP's few-shot method, drawn like the six (both: kernels/depth_views/perspective_views.h)
enum class Projection { kPointclipV2, kPointclip, kPointclipTen };

inline EnumNames<Projection> config_names(Projection) {
  return {{"pointclip_v2", Projection::kPointclipV2}, {"pointclip", Projection::kPointclip}, {"pointclip_ten", Projection::kPointclipTen}};
}

/// Pictures of a cloud.
constexpr int64_t view_count(Projection projection) { return projection == Projection::kPointclip ? 6 : 10; }

/// What a pixel holds that no point has reached.
constexpr double background_of(Projection projection) { return projection == Projection::kPointclipV2 ? 1.0 : 0.0; }

}  // namespace graft::pipelines
