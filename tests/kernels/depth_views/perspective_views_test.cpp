#include "kernels/depth_views/perspective_views.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "kernels/base/error.h"

namespace graft::kernels {
namespace {

using Cloud = std::vector<float>;
using Spot = std::pair<int64_t, int64_t>;  // row, column

Cloud random_cloud(int64_t points, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Cloud cloud(static_cast<size_t>(3 * points));
  for (auto& value : cloud) value = normal(random);
  return cloud;
}

std::vector<float> pictures(const std::vector<Cloud>& clouds, const PerspectiveEye& eye = pointclip_zero_shot_eye()) {
  Cloud points;
  std::vector<int64_t> starts{0};
  for (const auto& cloud : clouds) {
    points.insert(points.end(), cloud.begin(), cloud.end());
    starts.push_back(static_cast<int64_t>(points.size()) / 3);
  }
  std::vector<float> all(clouds.size() * eye.views.size() * static_cast<size_t>(eye.grid * eye.grid), -1.0f);
  perspective_views({points, starts}, eye, all.data());
  return all;
}

/// The pixels of one view that are not empty.
std::map<Spot, float> lit(const Cloud& cloud, size_t view, const PerspectiveEye& eye = pointclip_zero_shot_eye()) {
  const auto all = pictures({cloud}, eye);
  std::map<Spot, float> found;
  for (int64_t r = 0; r < eye.grid; ++r)
    for (int64_t c = 0; c < eye.grid; ++c) {
      const float value = all[(view * static_cast<size_t>(eye.grid) + static_cast<size_t>(r)) * static_cast<size_t>(eye.grid) + static_cast<size_t>(c)];
      if (value != 0) found[{r, c}] = value;
    }
  return found;
}

void expect_patch(const std::map<Spot, float>& found, int64_t row, int64_t column, double depth, int64_t side = 4) {
  for (int64_t i = 0; i < side; ++i)
    for (int64_t j = 0; j < side; ++j) {
      const auto at = found.find({row + i, column + j});
      ASSERT_NE(at, found.end()) << row + i << ", " << column + j;
      EXPECT_FLOAT_EQ(at->second, static_cast<float>(depth));
    }
}

// Four quarter turns and two poles, all on the same quarter turn about z (card, 2.8). Images of the basis vectors, column by column.
TEST(PerspectiveViews, SixViewsAreTurnsByQuartersAndThePoles) {
  const auto eye = pointclip_zero_shot_eye();
  EXPECT_EQ(eye.distance, 1.6);
  EXPECT_EQ(eye.grid, 128);
  EXPECT_EQ(eye.patch, 4);
  const std::vector<std::array<int, 9>> expected = {{0, -1, 0, 1, 0, 0, 0, 0, 1},  {0, -1, 0, 0, 0, -1, 1, 0, 0}, {0, -1, 0, -1, 0, 0, 0, 0, -1},
                                                    {0, -1, 0, 0, 0, 1, -1, 0, 0}, {0, 0, -1, 1, 0, 0, 0, -1, 0}, {0, 0, 1, 1, 0, 0, 0, 1, 0}};
  ASSERT_EQ(eye.views.size(), expected.size());
  for (size_t view = 0; view < expected.size(); ++view)
    for (size_t i = 0; i < 9; ++i) EXPECT_NEAR(eye.views[view][i], expected[view][i], 1e-7) << "view " << view + 1 << ", entry " << i;
}

TEST(PerspectiveViews, TenViewsHaveTheSixAndFourTiltedOnes) {
  const auto six = pointclip_zero_shot_eye(), ten = pointclip_few_shot_eye();
  ASSERT_EQ(ten.views.size(), 10u);
  EXPECT_EQ(ten.distance, 1.4);
  EXPECT_EQ(ten.grid, 224);
  for (size_t view = 0; view < 4; ++view) EXPECT_EQ(ten.views[view], six.views[view]);
  EXPECT_EQ(ten.views[8], six.views[4]);
  EXPECT_EQ(ten.views[9], six.views[5]);
  // R_x(5/4 π) R_y(∓π/4) R_z(π/2), and with 7/4 π: y goes to -x' √½, and up to the signs to ½ in the others.
  for (size_t view = 4; view < 8; ++view) {
    const auto& r = ten.views[view];
    EXPECT_NEAR(r[1], -std::sqrt(0.5), 1e-7) << view;
    EXPECT_NEAR(std::abs(r[4]), 0.5, 1e-7) << view;
    EXPECT_NEAR(std::abs(r[7]), 0.5, 1e-7) << view;
  }
  for (const auto& r : ten.views)
    EXPECT_NEAR(r[0] * (r[4] * r[8] - r[5] * r[7]) - r[1] * (r[3] * r[8] - r[5] * r[6]) + r[2] * (r[3] * r[7] - r[4] * r[6]), 1, 1e-6);
}

// By hand for view 1, where x' = -y, y' = x, z' = z: the points (±1, 0, 0) stand 1.6 away at y' / z = ±0.625, so at 64 · (1 ± 0.625) - 2 = 102 and 22.
TEST(PerspectiveViews, APointFallsWhereThePerspectivePutsIt) {
  const auto found = lit({1, 0, 0, -1, 0, 0}, 0);
  EXPECT_EQ(found.size(), 32u);
  expect_patch(found, 62, 102, 1.6);
  expect_patch(found, 62, 22, 1.6);
  // Up in the cloud is up in the picture: y = 1 goes to a small row.
  expect_patch(lit({0, 1, 0, 0, -1, 0}, 0), 22, 62, 1.6);
  auto single = pointclip_zero_shot_eye();
  single.patch = 1;
  const auto pixels = lit({1, 0, 0, -1, 0, 0}, 0, single);  // ⌈104 - ½⌉ and ⌈24 - ½⌉
  EXPECT_EQ(pixels.size(), 2u);
  expect_patch(pixels, 64, 104, 1.6, 1);
  expect_patch(pixels, 64, 24, 1.6, 1);
}

TEST(PerspectiveViews, APixelHasTheHarmonicMeanOfItsDepths) {
  // One behind the other: 2 / (1 / 0.6 + 1 / 2.6) = 0.975; seen from the side they stand apart at 1.6.
  const auto along = lit({0, 0, 1, 0, 0, -1}, 0);
  EXPECT_EQ(along.size(), 16u);
  expect_patch(along, 62, 62, 0.975);
  EXPECT_EQ(lit({0, 0, 1, 0, 0, -1}, 1).size(), 32u);
}

TEST(PerspectiveViews, NearThingsAreLargerAndWhatIsOutsideIsLeftOut) {
  // Two pairs of the same width: the near one (z' = 0.8 - 1.6 from the eye's side) stands wider apart.
  const auto found = lit({0.3f, 0, 0.8f, -0.3f, 0, 0.8f, 0.3f, 0, -0.8f, -0.3f, 0, -0.8f}, 0);
  std::map<float, std::pair<int64_t, int64_t>> columns;  // depth -> first and last column
  for (const auto& [at, depth] : found) {
    auto& ends = columns.try_emplace(depth, at.second, at.second).first->second;
    ends = {std::min(ends.first, at.second), std::max(ends.second, at.second)};
  }
  ASSERT_EQ(columns.size(), 2u);
  EXPECT_GT(columns.begin()->second.second - columns.begin()->second.first, columns.rbegin()->second.second - columns.rbegin()->second.first);
  // From 1.05 away the ball's rim stands at 1 / √(1.05² - 1) = 3.1 of half the picture: most of its near side is outside.
  auto close = pointclip_zero_shot_eye();
  close.distance = 1.05;
  const auto inside = pictures({random_cloud(2000, 4)}, close);
  EXPECT_TRUE(std::all_of(inside.begin(), inside.end(), [](float value) { return value >= 0 && value <= 2.06f; }));
}

/// Each pixel by itself, from all points: the formula once more, in another order.
std::vector<float> by_pixel(const Cloud& cloud, const PerspectiveEye& eye) {
  const size_t count = cloud.size() / 3;
  std::array<double, 3> mean{};
  for (size_t i = 0; i < cloud.size(); ++i) mean[i % 3] += cloud[i] / static_cast<double>(count);
  double radius = 0;
  for (size_t i = 0; i < count; ++i) {
    double square = 0;
    for (size_t a = 0; a < 3; ++a) square += std::pow(cloud[3 * i + a] - mean[a], 2);
    radius = std::max(radius, std::sqrt(square));
  }
  std::vector<float> all;
  for (const auto& r : eye.views) {
    std::vector<std::array<double, 3>> seen;  // row and column before rounding, z
    for (size_t i = 0; i < count; ++i) {
      std::array<double, 3> p{};
      for (size_t a = 0; a < 3; ++a)
        for (size_t b = 0; b < 3; ++b) p[a] += r[3 * a + b] * (cloud[3 * i + b] - mean[b]) / radius;
      const double z = p[2] + eye.distance, half = static_cast<double>(eye.grid) / 2;
      seen.push_back({half + half * p[0] / z, half + half * p[1] / z, z});
    }
    const double before = static_cast<double>(eye.patch) / 2;
    for (int64_t row = 0; row < eye.grid; ++row)
      for (int64_t column = 0; column < eye.grid; ++column) {
        double hits = 0, nearness = 0;
        for (const auto& [x, y, z] : seen) {
          // first = ⌈x - before⌉ <= row < first + patch
          const double dx = static_cast<double>(row) - std::ceil(x - before), dy = static_cast<double>(column) - std::ceil(y - before);
          const auto patch = static_cast<double>(eye.patch);
          if (dx >= 0 && dy >= 0 && dx < patch && dy < patch) hits += 1, nearness += 1 / z;
        }
        all.push_back(hits > 0 ? static_cast<float>(hits / nearness) : 0.0f);
      }
  }
  return all;
}

/// Pixels that differ by more than the rounding of doubles to fp32: half a unit of the last place of 2.6 is 1.2e-7.
int64_t differing(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  int64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += std::abs(a[i] - b[i]) > 2.5e-7f ? 1 : 0;
  return count;
}

TEST(PerspectiveViews, EqualsThePixelByPixelFormula) {
  for (const int64_t points : {2, 3, 17, 101})
    for (auto eye : {pointclip_zero_shot_eye(), pointclip_few_shot_eye()})
      for (const int64_t patch : {1, 2, 4}) {
        eye.grid = 31, eye.patch = patch;
        const auto cloud = random_cloud(points, static_cast<uint32_t>(points));
        EXPECT_EQ(differing(pictures({cloud}, eye), by_pixel(cloud, eye)), 0) << points << " points, patch " << patch;
      }
}

TEST(PerspectiveViews, OrderPositionAndSizeDoNotMatter) {
  const auto cloud = random_cloud(300, 5);
  const auto expected = pictures({cloud});
  Cloud shuffled, larger, shifted;
  for (size_t i = 0; i < 300; ++i) {
    const size_t from = 3 * ((i * 7 + 11) % 300);
    shuffled.insert(shuffled.end(), {cloud[from], cloud[from + 1], cloud[from + 2]});
  }
  for (const float value : cloud) larger.push_back(value * 4), shifted.push_back(value + 16);
  EXPECT_EQ(differing(pictures({shuffled}), expected), 0);
  EXPECT_EQ(differing(pictures({larger}), expected), 0);
  // A shift rounds coordinates to 2^-20, so depths differ by up to 1e-6 of the radius; a point on a pixel's edge may move by one pixel.
  const auto moved = pictures({shifted});
  const auto far = std::count_if(expected.begin(), expected.end(), [&, i = size_t{0}](float value) mutable { return std::abs(value - moved[i++]) > 1e-5f; });
  EXPECT_LT(far, static_cast<int64_t>(expected.size() / 1000));
}

TEST(PerspectiveViews, CloudsWithoutExtentHaveADefinedPicture) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
  const auto none = pictures({{}, {nan, 0, 0, 0, infinite, 0, 3e38f, 0, 0}});
  EXPECT_TRUE(std::all_of(none.begin(), none.end(), [](float value) { return value == 0; }));
  const float tenth = 0.1f;  // three of them do not add up to three tenths
  for (const auto& cloud : {Cloud{5, 5, 5}, Cloud{5, 5, 5, 5, 5, 5, nan, 0, 1}, Cloud(9, tenth), Cloud(21, tenth)})
    for (size_t view = 0; view < 6; ++view) {
      const auto found = lit(cloud, view);
      EXPECT_EQ(found.size(), 16u);
      expect_patch(found, 62, 62, 1.6);
    }
  const auto wide = pictures({{1e37f, -1e37f, 1e37f, -1e37f, 1e37f, 1e37f, 0, 0, 0}, {1e-40f, 0, 0, 0, 1e-42f, 0}});
  EXPECT_TRUE(std::all_of(wide.begin(), wide.end(), [](float value) { return value >= 0 && value <= 2.6f; }));
}

TEST(PerspectiveViews, TheSameBitsForAnyNumberOfThreads) {
  const std::vector<Cloud> clouds{random_cloud(900, 1), random_cloud(10, 2), random_cloud(2048, 3)};
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto alone = pictures(clouds);
  omp_set_num_threads(3);
  EXPECT_EQ(pictures(clouds), alone);
  omp_set_num_threads(before);
}

TEST(PerspectiveViews, RefusesAnEyeInsideTheCloudAndOddPatches) {
  const auto refused = [](double distance, int64_t grid, int64_t patch) {
    const PerspectiveEye eye{.views = pointclip_zero_shot_eye().views, .distance = distance, .grid = grid, .patch = patch};
    float unused = 0;
    EXPECT_THROW(perspective_views({{}, {}}, eye, &unused), InvalidArgument) << distance << " " << grid << " " << patch;
  };
  refused(1, 128, 4), refused(std::numeric_limits<double>::quiet_NaN(), 128, 4), refused(1.6, 0, 4), refused(1.6, 128, 3), refused(1.6, 128, 0);
}

}  // namespace
}  // namespace graft::kernels
