#include "pipelines/cloud/cloud_views.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include "kernels/depth_views/depth_views.h"
#include "kernels/depth_views/perspective_views.h"

namespace graft::pipelines {
namespace {

/// Points of all clouds end to end, with y up.
struct Upright {
  std::vector<float> points;
  std::vector<int64_t> starts = {0};
};

Upright upright(std::span<const data::PointCloud> clouds) {
  Upright all;
  for (const auto& cloud : clouds) {
    for (int64_t i = 0; i < cloud.size(); ++i) {
      const float* p = &cloud.points[static_cast<size_t>(3 * i)];
      all.points.insert(all.points.end(), {p[0], p[2], -p[1]});  // a turn about x: z becomes y
    }
    all.starts.push_back(static_cast<int64_t>(all.points.size() / 3));
  }
  return all;
}

kernels::PerspectiveEye eye_of(Projection projection) {
  return projection == Projection::kPointclipTen ? kernels::pointclip_few_shot_eye() : kernels::pointclip_zero_shot_eye();
}

at::Tensor drawn_in_perspective(const Upright& all, const kernels::PerspectiveEye& eye, int64_t side) {
  const auto pictures = at::empty({std::ssize(all.starts) - 1, std::ssize(eye.views), eye.grid, eye.grid}, at::kFloat);
  kernels::perspective_views({all.points, all.starts}, eye, pictures.mutable_data_ptr<float>());
  return side == eye.grid ? pictures : at::upsample_bilinear2d(pictures, {side, side}, /*align_corners=*/true);
}

}  // namespace

at::Tensor draw_views(std::span<const data::PointCloud> clouds, int64_t side, Projection projection) {
  const auto all = upright(clouds);
  if (projection != Projection::kPointclipV2) return drawn_in_perspective(all, eye_of(projection), side);
  const auto views = kernels::standard_views();
  const auto pictures = at::empty({static_cast<int64_t>(clouds.size()), static_cast<int64_t>(views.size()), side, side}, at::kFloat);
  kernels::depth_views({all.points, all.starts}, views, side, pictures.mutable_data_ptr<float>());
  return pictures;
}

at::Tensor as_images(const at::Tensor& views) {
  const int64_t side = views.size(-1);
  return views.reshape({-1, 1, side, side}).expand({-1, 3, side, side}).contiguous();
}

at::Tensor shown_views(const at::Tensor& views, Projection projection) {
  return projection == Projection::kPointclipV2 ? views : views / (eye_of(projection).distance + 1);
}

}  // namespace graft::pipelines
