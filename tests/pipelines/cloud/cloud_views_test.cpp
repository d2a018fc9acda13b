#include "pipelines/cloud/cloud_views.h"

#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "tests/pipelines/cloud/tiny_clip.h"

namespace graft::pipelines {
namespace {

using graft::testing::shape_clouds;

constexpr int64_t kSide = 64;

class CloudViews : public ::testing::TestWithParam<Projection> {
 protected:
  static at::Tensor views(const data::PointCloud& cloud) { return draw_views({&cloud, 1}, kSide, GetParam()); }
  /// Where something is drawn.
  static at::Tensor reached(const at::Tensor& views) { return (views - background_of(GetParam())).abs() > 1e-3; }
};

INSTANTIATE_TEST_SUITE_P(All, CloudViews, ::testing::Values(Projection::kPointclipV2, Projection::kPointclip, Projection::kPointclipTen));

TEST_P(CloudViews, HaveTheirNumberAndShape) {
  const auto set = shape_clouds(1, 1);
  const auto all = draw_views(set.clouds, kSide, GetParam());
  EXPECT_EQ(all.sizes(), (at::IntArrayRef{3, view_count(GetParam()), kSide, kSide}));
  EXPECT_TRUE(at::equal(all.narrow(0, 1, 1), views(set.clouds[1])));
  EXPECT_EQ(as_images(all).sizes(), (at::IntArrayRef{3 * view_count(GetParam()), 3, kSide, kSide}));
  for (int64_t view = 0; view < view_count(GetParam()); ++view) {
    EXPECT_TRUE(reached(all[0][view]).any().item<bool>()) << view;
    EXPECT_FALSE(reached(all[0][view][0]).any().item<bool>()) << "the first row is background";
  }
}

TEST_P(CloudViews, AreShownBetweenBlackAndWhite) {
  const auto set = shape_clouds(1, 1);
  const auto drawn = draw_views(set.clouds, kSide, GetParam()), shown = shown_views(drawn, GetParam());
  EXPECT_GE(shown.min().item<double>(), 0);
  EXPECT_LE(shown.max().item<double>(), 1);
  // What is shown is scaled: exactly the background stays so.
  EXPECT_TRUE(at::equal(shown == background_of(GetParam()), drawn == background_of(GetParam())));
}

// A tall cloud whose upper end (z is up) is broad: in the level views the broad end lies in the upper half of the picture.
TEST_P(CloudViews, StandUpright) {
  data::PointCloud cloud;
  for (int i = 0; i <= 40; ++i) {
    const float z = static_cast<float>(i) / 40;
    cloud.points.insert(cloud.points.end(), {0, 0, z});
    if (i >= 30)
      for (const float x : {-0.25f, 0.25f}) cloud.points.insert(cloud.points.end(), {x, 0, z, 0, x, z});
  }
  const auto pictures = views(cloud);
  const std::vector<int64_t> level = GetParam() == Projection::kPointclipV2 ? std::vector<int64_t>{4, 5, 6, 7} : std::vector<int64_t>{0, 1, 2, 3};
  for (const auto view : level) {
    const auto rows = reached(pictures[0][view]).sum(1);
    EXPECT_GT(rows.narrow(0, 0, kSide / 2).max().item<int64_t>(), 2 * rows.narrow(0, kSide / 2, kSide / 2).max().item<int64_t>()) << view;
  }
}

}  // namespace
}  // namespace graft::pipelines
