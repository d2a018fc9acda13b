#include "kernels/depth_views/depth_views.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/depth_views/splat.h"

namespace graft::kernels {
namespace {

std::vector<float> random_cloud(int64_t points, uint32_t seed, float scale = 1, float shift = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> cloud(static_cast<size_t>(3 * points));
  for (auto& value : cloud) value = normal(random) * scale + shift;
  return cloud;
}

using Draw = void (*)(const PointClouds&, std::span<const Rotation>, int64_t, float*);

std::vector<float> pictures(Draw draw, const std::vector<std::vector<float>>& clouds, int64_t side = kDepthImage) {
  std::vector<float> points;
  std::vector<int64_t> starts{0};
  for (const auto& cloud : clouds) {
    points.insert(points.end(), cloud.begin(), cloud.end());
    starts.push_back(static_cast<int64_t>(points.size()) / 3);
  }
  const auto views = standard_views();
  std::vector<float> all(clouds.size() * views.size() * static_cast<size_t>(side * side), -1.0f);
  draw({points, starts}, views, side, all.data());
  return all;
}

float furthest(const std::vector<float>& a, const std::vector<float>& b) {
  float most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

// Check values of the card: images of the basis vectors under the views.
TEST(DepthViews, RotationsAreThoseOfTheCard) {
  const auto views = standard_views();
  ASSERT_EQ(views.size(), 10u);
  const auto expect = [&](size_t view, size_t column, std::array<double, 3> image) {
    for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(views[view - 1][3 * i + column], image[i], 5e-5) << "view " << view << " e" << column + 1;
  };
  expect(5, 0, {0, 1, 0}), expect(5, 1, {-.9397, 0, .3420}), expect(5, 2, {.3420, 0, .9397});
  expect(1, 0, {.2418, .7071, .6645}), expect(1, 2, {.2418, -.7071, .6645});
  expect(9, 0, {0, 1, 0}), expect(9, 1, {-.2079, 0, -.9781}), expect(9, 2, {-.9781, 0, .2079});
  for (const auto& r : views) {
    const double determinant = r[0] * (r[4] * r[8] - r[5] * r[7]) - r[1] * (r[3] * r[8] - r[5] * r[6]) + r[2] * (r[3] * r[7] - r[4] * r[6]);
    EXPECT_NEAR(determinant, 1, 1e-6);
  }
}

TEST(DepthViews, ExtremesOfACubeFallWhereTheCardSays) {
  const detail::Frame frame{.middle = {0, 0, 0}, .side = 2, .empty = false};
  EXPECT_EQ(detail::splat_of({-1, 0, -1}, frame).row, 12);
  EXPECT_EQ(detail::splat_of({1, 0, 1}, frame).row, 101);
  EXPECT_EQ(detail::splat_of({0, 1, 0}, frame).column, 101);
  EXPECT_FLOAT_EQ(detail::splat_of({0, 0, -1}, frame).depth, 1);
  EXPECT_FLOAT_EQ(detail::splat_of({0, 0, 1}, frame).depth, 6);
}

TEST(DepthViews, GaussianTapsAreThoseOfTheCard) {
  const auto taps = detail::gaussian_taps();
  EXPECT_NEAR(taps.middle * taps.middle, .119572, 1e-6);
  EXPECT_NEAR(taps.middle * taps.edge, .113110, 1e-6);
  EXPECT_NEAR(taps.edge * taps.edge, .106997, 1e-6);
  EXPECT_NEAR(taps.middle + 2 * taps.edge, 1, 1e-12);
}

// Values up to 6 are weighted by taps that sum to 1 in four sums and two products, each good to half a unit of 2^-24, and divided by the
// largest, which is at least 1 (one cell fills the pooling window): some 6 · 6 · 2^-24 = 2.1e-6, and stretching adds two more roundings.
constexpr float kTolerance = 5e-6f;

TEST(DepthViews, EqualsTheReference) {
  std::vector<std::vector<float>> clouds;
  for (const int64_t points : {1, 2, 3, 17, 64, 1009, 2048}) clouds.push_back(random_cloud(points, static_cast<uint32_t>(points)));
  clouds.push_back(random_cloud(500, 3, 1e-3f, 7));
  for (const int64_t side : {1, 2, 32, 109, 110, 111, 224})
    EXPECT_LT(furthest(pictures(depth_views, clouds, side), pictures(depth_views_reference, clouds, side)), kTolerance) << side;
}

TEST(DepthViews, PicturesAreWhiteWithTheNearestPointBlack) {
  const auto all = pictures(depth_views, {random_cloud(2048, 1)});
  for (size_t view = 0; view < 10; ++view) {
    const auto* begin = all.data() + view * kDepthImage * kDepthImage;
    const auto [low, high] = std::minmax_element(begin, begin + kDepthImage * kDepthImage);
    EXPECT_NEAR(*low, 0, kTolerance);
    EXPECT_EQ(*high, 1);
    EXPECT_EQ(*begin, 1) << "the corner is background";
  }
}

TEST(DepthViews, OrderPositionAndSizeDoNotMatter) {
  const auto cloud = random_cloud(300, 5);
  const auto expected = pictures(depth_views, {cloud});
  std::vector<size_t> order(300);
  for (size_t i = 0; i < order.size(); ++i) order[i] = (i * 7 + 11) % 300;
  std::vector<float> shuffled, moved;
  for (const auto i : order) shuffled.insert(shuffled.end(), {cloud[3 * i], cloud[3 * i + 1], cloud[3 * i + 2]});
  EXPECT_EQ(pictures(depth_views, {shuffled}), expected);
  for (const float value : cloud) moved.push_back(value * 4);
  EXPECT_EQ(pictures(depth_views, {moved}), expected);  // a power of two changes no digit
  // A shift rounds coordinates; a point on a cell's edge may fall into the next one, which changes pixels of its window only.
  for (auto& value : moved) value = value / 4 + 16;
  const auto shifted = pictures(depth_views, {moved});
  const auto differing = std::count_if(expected.begin(), expected.end(), [&, i = size_t{0}](float value) mutable { return std::abs(value - shifted[i++]) > 1e-3f; });
  EXPECT_LT(differing, static_cast<int64_t>(expected.size() / 200));
}

TEST(DepthViews, CloudsWithoutExtentHaveADefinedPicture) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
  const auto none = pictures(depth_views, {{}, {nan, 0, 0, 0, infinite, 0}});
  EXPECT_TRUE(std::all_of(none.begin(), none.end(), [](float value) { return value == 1; }));
  const auto one = pictures(depth_views, {{5, 5, 5}, {5, 5, 5, 5, 5, 5, nan, 0, 1}});
  EXPECT_TRUE(std::all_of(one.begin(), one.end(), [](float value) { return value >= 0 && value <= 1; }));
  EXPECT_EQ(std::vector(one.begin(), one.begin() + one.size() / 2), std::vector(one.begin() + one.size() / 2, one.end()));
  // The spot: a window of 7 x 7, smoothed by one pixel on each side; in the middle it is black.
  const auto dark = std::count_if(one.begin(), one.begin() + kDepthImage * kDepthImage, [](float value) { return value < 1; });
  EXPECT_EQ(dark, 81);
}

TEST(DepthViews, CoordinatesAtTheEndsOfTheirRangeStayInTheGrid) {
  const std::vector<std::vector<float>> clouds{{3e38f, 3e38f, -3e38f, 1, 2, 3, 2, 2, 2},                 // infinite when turned: left out
                                               {1e37f, -1e37f, 1e37f, -1e37f, 1e37f, 1e37f, 0, 0, 0},    // the largest that are drawn
                                               {1e-40f, 0, 0, 0, 1e-42f, 0}};                            // an extent without a reciprocal
  const auto all = pictures(depth_views, clouds);
  EXPECT_TRUE(std::all_of(all.begin(), all.end(), [](float value) { return value >= 0 && value <= 1; }));
  EXPECT_LT(furthest(all, pictures(depth_views_reference, clouds)), kTolerance);
  const auto without = pictures(depth_views, {{1, 2, 3, 2, 2, 2}});
  EXPECT_EQ(std::vector(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(without.size())), without);
}

TEST(DepthViews, TheSameBitsForAnyNumberOfThreads) {
  const std::vector<std::vector<float>> clouds{random_cloud(900, 1), random_cloud(10, 2), random_cloud(2048, 3)};
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto alone = pictures(depth_views, clouds, 224);
  omp_set_num_threads(3);
  EXPECT_EQ(pictures(depth_views, clouds, 224), alone);
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace graft::kernels
