#include "data_loaders/cloud/preparation.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numeric>
#include <set>

#include "data_loaders/cloud/sampling.h"
#include "data_loaders/cloud/up_axis.h"
#include "kernels/base/error.h"
#include "peft_core/base/rng.h"
#include "tests/data_loaders/cloud/cloud_samples.h"

namespace graft::testing {
namespace {

using data::PointCloud;
using data::UpAxis;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

PointCloud cloud_of(std::vector<float> points) { return {.points = std::move(points), .source = "made"}; }

/// Adds `count` points of a box's inside.
void add_box(PointCloud& cloud, std::array<float, 3> low, std::array<float, 3> size, int count, uint64_t seed) {
  RandomStream random(seed);
  for (int i = 0; i < count; ++i) {
    for (size_t axis = 0; axis < 3; ++axis) cloud.points.push_back(low[axis] + size[axis] * static_cast<float>(random.uniform()));
  }
}

/// A street: ground at z = 10, three boxes on it of different size.
PointCloud scene() {
  PointCloud cloud{.origin = {500000, 5400000, 0}, .source = "street.las"};
  add_box(cloud, {0, 0, 10}, {40, 40, 0.05f}, 4000, 1);
  add_box(cloud, {5, 5, 10.5f}, {2, 2, 2}, 400, 2);
  add_box(cloud, {20, 20, 10.5f}, {4, 2, 1.5f}, 700, 3);
  add_box(cloud, {30, 5, 10.5f}, {1, 1, 5}, 300, 4);
  add_box(cloud, {35, 35, 14}, {0.1f, 0.1f, 0.1f}, 5, 5);
  return cloud;
}

TEST(UpAxisOfClouds, AStandingThingIsSetUpright) {
  for (const auto up : {UpAxis::kX, UpAxis::kY, UpAxis::kZ}) {
    PointCloud cloud = cloud_of({});
    add_box(cloud, {0, 0, 0}, {4, 4, 0.05f}, 300, 1);  // a foot
    add_box(cloud, {1.8f, 1.8f, 0}, {0.4f, 0.4f, 6}, 300, 2);
    add_box(cloud, {0.5f, 1, 4}, {3, 2, 3}, 600, 3);
    const auto upright = cloud.points;
    const size_t u = up == UpAxis::kX ? 0 : up == UpAxis::kY ? 1 : 2;
    for (size_t i = 0; i < upright.size(); i += 3) {  // z goes to axis u, turning
      for (size_t axis = 0; axis < 3; ++axis) cloud.points[i + (axis + u + 1) % 3] = upright[i + axis];
    }
    const auto finding = data::detect_up_axis({&cloud, 1});
    EXPECT_EQ(finding.axis, up) << finding.why;
    EXPECT_THAT(finding.why, HasSubstr("top and bottom differ most"));
    const auto turned = data::with_z_up(cloud, finding.axis);
    EXPECT_EQ(data::detect_up_axis({&turned, 1}).axis, UpAxis::kZ);
  }
}

TEST(UpAxisOfClouds, TurnsDoNotMirrorAndTakeTheOriginAlong) {
  for (const auto up : {UpAxis::kX, UpAxis::kY}) {
    PointCloud axes = cloud_of({1, 0, 0, 0, 1, 0, 0, 0, 1});
    axes.origin = {10, 20, 30};
    const auto turned = data::with_z_up(axes, up);
    const auto* p = turned.points.data();
    const float determinant = p[0] * (p[4] * p[8] - p[5] * p[7]) - p[1] * (p[3] * p[8] - p[5] * p[6]) + p[2] * (p[3] * p[7] - p[4] * p[6]);
    EXPECT_EQ(determinant, 1);
    const size_t u = up == UpAxis::kX ? 0 : 1;
    EXPECT_EQ(turned.points[3 * u + 2], 1);
    EXPECT_EQ(turned.origin[2], axes.origin[u]);
  }
  EXPECT_THROW(data::with_z_up(cloud_of({1, 2, 3}), UpAxis::kUnknown), InvalidArgument);
  EXPECT_THROW(data::up_axis_named("w"), InvalidArgument);
}

TEST(UpAxisOfClouds, WhereNothingTellsItIsZ) {
  PointCloud ball = cloud_of({});
  add_box(ball, {0, 0, 0}, {1, 1, 1}, 2000, 9);
  const auto finding = data::detect_up_axis({&ball, 1});
  EXPECT_EQ(finding.axis, UpAxis::kZ);
  const auto point = cloud_of({1, 2, 3});
  EXPECT_THAT(data::detect_up_axis({&point, 1}).why, HasSubstr("z by convention"));
  EXPECT_THAT(data::detect_up_axis({}).why, HasSubstr("no clouds"));
  PointCloud las = cloud_of({0, 0, 0});
  las.up = UpAxis::kZ;
  EXPECT_THAT(data::detect_up_axis({&las, 1}).why, HasSubstr("format says so"));
}

TEST(Sampling, VoxelGridTakesMeans) {
  PointCloud cloud = cloud_of({0.1f, 0.1f, 0.1f, -0.5f, 0, 0, 0.3f, 0.5f, 0.7f});
  cloud.labels = {1, 2, 3};
  cloud.colours = {10, 0, 0, 1, 1, 1, 20, 0, 0};
  cloud.intensity = {1, 2, 4};
  const auto thin = data::voxel_grid(cloud, 1);
  ASSERT_EQ(thin.size(), 2);
  EXPECT_FLOAT_EQ(thin.points[0], 0.2f);
  EXPECT_FLOAT_EQ(thin.points[2], 0.4f);
  EXPECT_FLOAT_EQ(thin.points[3], -0.5f);
  EXPECT_THAT(thin.labels, ElementsAre(1, 2));
  EXPECT_EQ(thin.colours[0], 15);
  EXPECT_THAT(thin.intensity, ElementsAre(2.5f, 2));
  EXPECT_EQ(data::voxel_grid(cloud, 1e-30).size(), 3);
  EXPECT_EQ(data::voxel_grid(cloud, 1e30).size(), 2);  // on both sides of 0
  EXPECT_THROW(data::voxel_grid(cloud, 0), InvalidArgument);
  EXPECT_THROW(data::voxel_grid(cloud, std::nan("")), InvalidArgument);
}

TEST(Sampling, FarthestPointsAgainstTheDefinition) {
  PointCloud cloud = cloud_of({});
  add_box(cloud, {0, 0, 0}, {3, 2, 1}, 101, 5);
  const auto few = data::farthest_points(cloud, 17);
  ASSERT_EQ(few.size(), 17);
  // Each chosen point is as far from those before it as any point of the cloud is; the kernel squares floats, hence 1e-5.
  for (int64_t k = 1; k < 17; ++k) {
    const auto gap = [&](const PointCloud& from, int64_t i) {
      double least = 1e9;
      for (int64_t j = 0; j < k; ++j) {
        const auto p = from.position(i), q = few.position(j);
        least = std::min(least, std::hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]));
      }
      return least;
    };
    double widest = 0;
    for (int64_t i = 0; i < cloud.size(); ++i) widest = std::max(widest, gap(cloud, i));
    EXPECT_NEAR(gap(few, k), widest, 1e-5);
  }
  EXPECT_EQ(data::farthest_points(cloud, 101).points, cloud.points);
  EXPECT_EQ(data::farthest_points(cloud_of({1, 1, 1, 1, 1, 1, 1, 1, 1}), 2).size(), 2);
  EXPECT_THROW(data::farthest_points(cloud, 0), InvalidArgument);
}

TEST(Sampling, RandomPointsAndRepetition) {
  PointCloud cloud = cloud_of(std::vector<float>(300));
  std::iota(cloud.points.begin(), cloud.points.end(), 0.f);
  const auto drawn = data::random_points(cloud, 40, 7);
  EXPECT_EQ(drawn.size(), 40);
  EXPECT_EQ(std::set<float>(drawn.points.begin(), drawn.points.end()).size(), 120u);
  EXPECT_EQ(drawn.points, data::random_points(cloud, 40, 7).points);
  EXPECT_NE(drawn.points, data::random_points(cloud, 40, 8).points);
  EXPECT_EQ(data::random_points(cloud, 100, 7).points, cloud.points);
  EXPECT_THAT(data::repeated_to(cloud_of({1, 2, 3, 4, 5, 6}), 3).points, ElementsAre(1, 2, 3, 4, 5, 6, 1, 2, 3));
  EXPECT_EQ(data::repeated_to(cloud, 3).size(), 100);
  EXPECT_THROW(data::repeated_to(cloud_of({}), 3), InvalidArgument);
}

TEST(Sampling, UnitSphere) {
  PointCloud cloud = cloud_of({});
  add_box(cloud, {100, -50, 3}, {30, 20, 10}, 500, 3);
  cloud.origin = {1e6, 0, 0};
  const auto unit = data::unit_sphere(cloud);
  double farthest = 0;
  std::array<double, 3> mean{};
  for (int64_t i = 0; i < unit.size(); ++i) {
    const auto p = unit.position(i);
    farthest = std::max(farthest, std::hypot(p[0], p[1], p[2]));
    for (size_t axis = 0; axis < 3; ++axis) mean[axis] += p[axis] / 500;
  }
  // Coordinates below 1 with half a unit of 2^-24 each.
  EXPECT_NEAR(farthest, 1, 1e-6);
  for (const double m : mean) EXPECT_NEAR(m, 0, 1e-6);
  EXPECT_THAT(data::unit_sphere(cloud_of({5, 6, 7})).points, ElementsAre(0, 0, 0));
  EXPECT_EQ(data::unit_sphere(cloud_of({})).size(), 0);
}

TEST(Clusters, ASceneBecomesItsObjects) try {
  const auto street = scene();
  const auto split = data::split_ground(street);
  EXPECT_NEAR(static_cast<double>(split.ground.size()), 4000, 40);
  EXPECT_EQ(split.ground.size() + split.objects.size(), street.size());
  EXPECT_GT(split.plane[2], 0.99);
  // The plane at the middle of the ground, absolute: z within its thickness of 10.
  EXPECT_NEAR(-(split.plane[0] * 500020 + split.plane[1] * 5400020 + split.plane[3]) / split.plane[2], 10, 0.2);
  const auto objects = data::objects_of_scene(street, {}, {.distance = 0.6});
  ASSERT_EQ(objects.size(), 3u);
  EXPECT_EQ(objects[0].cloud.size(), 700);
  EXPECT_EQ(objects[1].cloud.size(), 400);
  EXPECT_EQ(objects[2].cloud.size(), 300);
  EXPECT_EQ(objects[0].cloud.source, "street.las#cluster0");
  EXPECT_NEAR(objects[0].low[0], 500020, 0.2);
  EXPECT_NEAR(objects[0].high[0], 500024, 0.2);
  EXPECT_NEAR(objects[2].high[2], 15.5, 0.2);
  const auto again = data::objects_of_scene(street, {}, {.distance = 0.6});
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(objects[i].cloud.points, again[i].cloud.points);
} catch (const Unavailable& missing) {
  GTEST_SKIP() << missing.what();
}

TEST(Clusters, WithoutGroundOrObjects) try {
  PointCloud wall = cloud_of({});
  add_box(wall, {0, 0, 0}, {0.01f, 10, 10}, 500, 1);
  const auto split = data::split_ground(wall, {.thickness = 0.05, .least_share = 0.3});
  EXPECT_EQ(split.ground.size(), 0);
  EXPECT_EQ(split.objects.size(), 500);
  EXPECT_EQ(data::split_ground(cloud_of({1, 2, 3})).objects.size(), 1);
  EXPECT_TRUE(data::euclidean_clusters(cloud_of({})).empty());
  EXPECT_TRUE(data::euclidean_clusters(cloud_of({1, 2, 3})).empty());
  EXPECT_EQ(data::euclidean_clusters(cloud_of({1, 2, 3}), {.least_points = 1}).size(), 1u);
  EXPECT_THROW(data::euclidean_clusters(wall, {.distance = 0}), InvalidArgument);
  EXPECT_THROW(data::split_ground(wall, {.most_slope = 90}), InvalidArgument);
} catch (const Unavailable& missing) {
  GTEST_SKIP() << missing.what();
}

TEST(Outliers, FarPointsGo) try {
  PointCloud cloud = cloud_of({});
  add_box(cloud, {0, 0, 0}, {1, 1, 1}, 400, 1);
  cloud.points.insert(cloud.points.end(), {50, 50, 50});
  cloud.labels.assign(401, 1);
  const auto clean = data::without_outliers(cloud);
  EXPECT_GE(clean.size(), 390);
  EXPECT_LE(clean.size(), 400);
  EXPECT_EQ(clean.labels.size(), static_cast<size_t>(clean.size()));
  for (int64_t i = 0; i < clean.size(); ++i) EXPECT_LT(clean.position(i)[0], 2);
  EXPECT_EQ(data::without_outliers(cloud_of({1, 2, 3})).size(), 1);
  EXPECT_THROW(data::without_outliers(cloud, {.neighbours = 0}), InvalidArgument);
} catch (const Unavailable& missing) {
  GTEST_SKIP() << missing.what();
}

TEST(Preparation, StepsInTheirOrder) {
  PointCloud cloud = cloud_of({});
  add_box(cloud, {0, 0, 0}, {1, 2, 3}, 3000, 1);
  data::PreparationSettings settings{.voxel = 0.1, .farthest = 500, .random = 64, .unit_sphere = true};
  const auto made = data::prepared(cloud, UpAxis::kY, settings, 5);
  EXPECT_EQ(made.size(), 64);
  EXPECT_EQ(made.points, data::prepared(cloud, UpAxis::kY, settings, 5).points);
  EXPECT_NE(made.points, data::prepared(cloud, UpAxis::kY, settings, 6).points);
  double farthest = 0;
  for (int64_t i = 0; i < made.size(); ++i)
    farthest = std::max(farthest, std::hypot(made.points[static_cast<size_t>(3 * i)], made.points[static_cast<size_t>(3 * i) + 1],
                                             made.points[static_cast<size_t>(3 * i) + 2]) *
                                      1.0);
  EXPECT_NEAR(farthest, 1, 1e-6);
  EXPECT_EQ(data::prepared(cloud, UpAxis::kZ, {}, 0).points, cloud.points);
}

}  // namespace
}  // namespace graft::testing
