#include "pipelines/cloud/cloud_views.h"

#include <ATen/ops/empty.h>

#include "kernels/depth_views/depth_views.h"

namespace graft::pipelines {

at::Tensor draw_views(std::span<const data::PointCloud> clouds, int64_t side) {
  std::vector<float> points;
  std::vector<int64_t> starts = {0};
  for (const auto& cloud : clouds) {
    for (int64_t i = 0; i < cloud.size(); ++i) {
      const float* p = &cloud.points[static_cast<size_t>(3 * i)];
      points.insert(points.end(), {p[0], p[2], -p[1]});  // a turn about x: z becomes y
    }
    starts.push_back(static_cast<int64_t>(points.size() / 3));
  }
  const auto views = kernels::standard_views();
  const auto pictures = at::empty({static_cast<int64_t>(clouds.size()), static_cast<int64_t>(views.size()), side, side}, at::kFloat);
  kernels::depth_views({points, starts}, views, side, pictures.mutable_data_ptr<float>());
  return pictures;
}

at::Tensor as_images(const at::Tensor& views) {
  const int64_t side = views.size(-1);
  return views.reshape({-1, 1, side, side}).expand({-1, 3, side, side}).contiguous();
}

}  // namespace graft::pipelines
