#include "kernels/depth_views/depth_views_cuda.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/base/cuda_state.h"
#include "kernels/depth_views/depth_views_programs.h"
#include "tests/kernels/base/places.h"

namespace graft::kernels {
namespace {

class DepthViewsCuda : public ::testing::TestWithParam<Place> {
 protected:
  void SetUp() override {
    if (const auto why = why_not_at(GetParam()); !why.empty()) GTEST_SKIP() << why;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, DepthViewsCuda, kPlaces, [](const auto& instance) { return name_of(instance.param); });

/// Clouds laid end to end, in memory of just their size.
struct Clouds {
  std::vector<float> points;
  std::vector<int64_t> starts{0};

  void add(const std::vector<float>& cloud) {
    points.insert(points.end(), cloud.begin(), cloud.end());
    starts.push_back(static_cast<int64_t>(points.size()) / 3);
  }
  int64_t count() const { return static_cast<int64_t>(starts.size()) - 1; }
};

std::vector<float> random_cloud(int64_t points, uint32_t seed, float scale = 1, float shift = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> cloud(static_cast<size_t>(3 * points));
  for (auto& value : cloud) value = normal(random) * scale + shift;
  return cloud;
}

/// What is drawn, and what was there before is NaN. `offset`: floats that all arrays begin after the alignment of packs.
std::vector<float> pictures(Place where, Clouds clouds, int64_t side, int64_t offset = 0) {
  const auto views = standard_views();
  std::vector<float> matrices(static_cast<size_t>(offset));
  for (const auto& view : views) matrices.insert(matrices.end(), view.begin(), view.end());
  clouds.points.insert(clouds.points.begin(), static_cast<size_t>(offset), 0.0f);
  const auto count = static_cast<int64_t>(views.size());
  const auto filled = [&](int64_t size) { return std::vector<float>(static_cast<size_t>(offset + size), std::nanf("")); };
  auto out = filled(clouds.count() * count * side * side), scratch = filled(depth_views_scratch(clouds.count(), count));
  {
    Site site(where);
    const DeviceClouds placed{.points = site.at(clouds.points) + offset, .starts = site.at(clouds.starts), .count = clouds.count()};
    const float* turned = site.at(matrices) + offset;
    float *to = site.at(out) + offset, *memory = site.at(scratch) + offset;
    if (site.on_device()) {
      depth_views_cuda(placed, turned, count, side, to, memory, nullptr);
    } else {
      detail::launch_depth_views(site.host(), placed, turned, count, side, to, memory);
    }
  }
  return {out.begin() + offset, out.end()};
}

std::vector<float> expected(const Clouds& clouds, int64_t side) {
  const auto views = standard_views();
  std::vector<float> all(static_cast<size_t>(clouds.count() * static_cast<int64_t>(views.size()) * side * side));
  depth_views_reference({clouds.points, clouds.starts}, views, side, all.data());
  return all;
}

// A point's cell comes from the same text in the same order with no product and sum in one rounding, so cells are equal. Values up to 6 are
// then weighted by taps that sum to 1 in four sums and two products, each good to half a unit of 2^-24, and divided by the largest, which is
// at least 1: some 6 · 6 · 2^-24 = 2.1e-6, and stretching adds two more roundings.
constexpr double kTolerance = 5e-6;

void expect_close(const std::vector<float>& actual, const std::vector<float>& wanted, int64_t side, const std::string& what) {
  ASSERT_EQ(actual.size(), wanted.size());
  const auto picture = static_cast<size_t>(side * side);
  for (size_t i = 0; i < actual.size(); ++i)  // so written that NaN fails
    ASSERT_LE(static_cast<double>(std::abs(actual[i] - wanted[i])), kTolerance)
        << what << ", side " << side << ", picture " << i / picture << ", pixel " << i % picture << ": " << actual[i] << " for " << wanted[i];
}

/// Sizes around a block's 256 threads and clouds of very different lengths side by side.
Clouds clouds_of_all_kinds(Place place) {
  Clouds clouds;
  for (const int64_t points : sizes_at<int64_t>(place, {1, 2, 17, 255, 0, 256, 257, 1009}, {2048, 100003}))
    clouds.add(random_cloud(points, static_cast<uint32_t>(points)));
  clouds.add(random_cloud(500, 3, 1e-3f, 7));
  return clouds;
}

TEST_P(DepthViewsCuda, EqualsTheReference) {
  const auto clouds = clouds_of_all_kinds(GetParam());
  for (const int64_t side : sizes_at<int64_t>(GetParam(), {0, 110}, {1, 32, 224}))
    expect_close(pictures(GetParam(), clouds, side), expected(clouds, side), side, "clouds of all kinds");
}

TEST_P(DepthViewsCuda, StretchesToAnySide) {
  Clouds clouds;
  clouds.add(random_cloud(64, 1));
  for (const int64_t side : {1, 2, 31, 32, 33, 109, 111, 224, 517})  // a block stretches 1024 pixels, 32 x 32
    expect_close(pictures(GetParam(), clouds, side), expected(clouds, side), side, "one cloud");
}

TEST_P(DepthViewsCuda, AnyAlignmentAndTheSameBitsEverywhere) {
  const auto clouds = clouds_of_all_kinds(Place::kForward);
  const auto on_host = pictures(Place::kForward, clouds, 37);
  for (const int64_t offset : {0, 1, 3}) EXPECT_TRUE(same_bytes(pictures(GetParam(), clouds, 37, offset), on_host)) << offset;
}

TEST_P(DepthViewsCuda, AFlatCloudFillsOneSlice) {
  Clouds clouds;  // a wall, seen from the front and along its face
  std::vector<float> wall;
  for (int i = 0; i < 41; ++i)
    for (int j = 0; j < 41; ++j) wall.insert(wall.end(), {static_cast<float>(i), static_cast<float>(j), 0.0f});
  clouds.add(wall);
  expect_close(pictures(GetParam(), clouds, 110), expected(clouds, 110), 110, "a wall");
}

TEST_P(DepthViewsCuda, CornersOfACubeAtManyDepths) {
  Clouds clouds;
  for (const float depth : {-1.0f, -0.3f, 0.2f, 0.9f, 1.0f})
    clouds.add({-1, -1, depth, 1, -1, depth, -1, 1, depth, 1, 1, depth, 0, 0, depth, -1, 0, -depth, 0, 1, -depth, 3, 3, 3, 3, 3, -3});
  expect_close(pictures(GetParam(), clouds, 110), expected(clouds, 110), 110, "corners");
}

TEST_P(DepthViewsCuda, CloudsWithoutExtentHaveADefinedPicture) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
  Clouds clouds;
  clouds.add({nan, 0, 0, 0, infinite, 0});
  clouds.add({});
  clouds.add({5, 5, 5});
  clouds.add({5, 5, 5, 5, 5, 5, nan, 0, 1});
  clouds.add({3e38f, 3e38f, -3e38f, 1, 2, 3, 2, 2, 2});  // would be infinite when turned, so is left out
  clouds.add({1e37f, -1e37f, 1e37f, -1e37f, 1e37f, 1e37f, 0, 0, 0});
  clouds.add({1e-40f, 0, 0, 0, 1e-42f, 0});  // an extent without a reciprocal
  const auto all = pictures(GetParam(), clouds, 110);
  expect_close(all, expected(clouds, 110), 110, "clouds without extent");
  for (size_t i = 0; i < 2 * 10 * 110 * 110; ++i) ASSERT_EQ(all[i], 1.0f) << "white";
}

TEST_P(DepthViewsCuda, NoCloudsAreNoWork) { EXPECT_TRUE(pictures(GetParam(), Clouds(), 64).empty()); }

TEST(DepthViewsCudaArguments, WrongOnesAreRefused) {
  const auto draw = [](int64_t clouds, int64_t views, int64_t side) {
    detail::launch_depth_views(HostLauncher(), {nullptr, nullptr, clouds}, nullptr, views, side, nullptr, nullptr);
  };
  EXPECT_NO_THROW(draw(0, 10, 224));
  EXPECT_THROW(draw(-1, 10, 224), InvalidArgument);
  EXPECT_THROW(draw(0, -1, 224), InvalidArgument);
  EXPECT_THROW(draw(0, 10, -1), InvalidArgument);
}

TEST(DepthViewsCudaArguments, WithoutKernelsTheErrorSaysSo) {
  if (cuda_kernels_compiled()) GTEST_SKIP() << "this build has CUDA kernels";
  EXPECT_THROW(depth_views_cuda({nullptr, nullptr, 0}, nullptr, 0, 0, nullptr, nullptr, nullptr), Unavailable);
}

}  // namespace
}  // namespace graft::kernels
