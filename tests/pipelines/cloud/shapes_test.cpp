#include "pipelines/cloud/shapes/shapes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/base/error.h"
#include "pipelines/cloud/shapes/makers.h"

namespace graft::pipelines {
namespace {

const int64_t kFamilies = std::ssize(shape_families());

int64_t family_named(const std::string& name) {
  for (int64_t i = 0; i < kFamilies; ++i)
    if (shape_families()[static_cast<size_t>(i)].name == name) return i;
  ADD_FAILURE() << "no family " << name;
  return 0;
}

std::array<float, 3> extents(const data::PointCloud& cloud) {
  std::array<float, 3> low{9, 9, 9}, high{-9, -9, -9};
  for (size_t i = 0; i < cloud.points.size(); ++i) {
    low[i % 3] = std::min(low[i % 3], cloud.points[i]);
    high[i % 3] = std::max(high[i % 3], cloud.points[i]);
  }
  // Centred: three roundings of numbers up to 1/2.
  for (size_t k = 0; k < 3; ++k) EXPECT_NEAR(low[k] + high[k], 0, 1e-6) << cloud.source;
  return {high[0] - low[0], high[1] - low[1], high[2] - low[2]};
}

TEST(Shapes, EveryFamilyGivesFiniteCentredCloudsOfSideOne) {
  for (int64_t family = 0; family < kFamilies; ++family)
    for (uint64_t seed = 0; seed < 40; ++seed)
      for (const bool scan : {false, true}) {
        const auto cloud = make_shape(family, seed, {.points = 300, .scan = scan});
        ASSERT_TRUE(std::all_of(cloud.points.begin(), cloud.points.end(), [](float x) { return std::isfinite(x); })) << cloud.source;
        if (scan) {
          EXPECT_GE(cloud.size(), 50) << cloud.source;  // 100 are asked for; a view from above may leave fewer
          EXPECT_LE(cloud.size(), 306) << cloud.source;  // 300 and one stray for 50 of them
        } else {
          EXPECT_EQ(cloud.size(), 300);
        }
        const auto side = extents(cloud);
        EXPECT_NEAR(*std::max_element(side.begin(), side.end()), 1, 1e-6) << cloud.source;
        EXPECT_EQ(cloud.up, data::UpAxis::kZ);
      }
}

TEST(Shapes, ASeedFixesTheCloudAndAnotherChangesIt) {
  for (int64_t family = 0; family < kFamilies; ++family)
    for (const bool scan : {false, true}) {
      const auto points = [&](uint64_t seed) { return make_shape(family, seed, {.points = 200, .scan = scan}).points; };
      EXPECT_EQ(points(3), points(3));
      EXPECT_NE(points(3), points(4));
    }
}

TEST(Shapes, ThingsStandUpright) {
  for (const auto* name : {"tower", "pole", "lamp post", "conifer", "palm", "column"})
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const auto side = extents(make_shape(family_named(name), seed));
      EXPECT_EQ(side[2], std::max({side[0], side[1], side[2]})) << name << " " << seed;
    }
  for (const auto* name : {"floor", "truck", "bus", "car"})
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const auto side = extents(make_shape(family_named(name), seed));
      EXPECT_LT(side[2], std::max(side[0], side[1])) << name << " " << seed;
    }
}

TEST(Shapes, ASurfaceIsDrawnByArea) {
  shapes::Surface surface;
  surface.box(0, 0, 0, 4, 2, 1);  // top and bottom 8 each of 28
  shapes::Dice dice(RandomStream(1, "area"));
  const auto points = surface.draw(dice, 28000);
  int64_t flat = 0;
  for (size_t i = 2; i < points.size(); i += 3) flat += points[i] == 0 || points[i] == 1 ? 1 : 0;
  EXPECT_NEAR(static_cast<double>(flat), 16000, 415);  // five deviations of a binomial: sqrt(28000 * 4/7 * 3/7) = 83
}

TEST(Shapes, AScanFromAboveSeesTheTopOfAThing) {
  const auto mean_height = [](bool scan) {
    double sum = 0, count = 0;
    for (uint64_t seed = 0; seed < 60; ++seed) {
      const auto cloud = make_shape(family_named("block"), seed, {.points = 500, .scan = scan});
      for (size_t i = 2; i < cloud.points.size(); i += 3) sum += cloud.points[i], ++count;
    }
    return sum / count;
  };
  EXPECT_GT(mean_height(true), mean_height(false) + 0.02);
}

TEST(Shapes, ASurveyMeetsLargeThingsMoreOftenThanSmallOnes) {
  const auto mean_points = [](const char* name) {
    int64_t sum = 0;
    for (uint64_t seed = 0; seed < 60; ++seed) sum += make_shape(family_named(name), seed, {.points = 2048, .scan = true}).size();
    return static_cast<double>(sum) / 60;
  };
  EXPECT_GT(mean_points("block"), 2 * mean_points("car"));
}

TEST(Shapes, AnyCloudCanBeSeenAsASensorSeesIt) {
  const auto whole = make_shape(family_named("block"), 4, {.points = 1000});
  const auto scan = as_scanned(whole, 1);
  EXPECT_GE(scan.size(), 1);
  EXPECT_LT(scan.size(), whole.size() * 1.03);  // strays come to no more than a fiftieth
  EXPECT_EQ(scan.points, as_scanned(whole, 1).points);
  EXPECT_NE(scan.points, as_scanned(whole, 2).points);
  for (const auto& points : {std::vector<float>{}, {1, 2, 3}}) EXPECT_EQ(as_scanned({.points = points}, 1).points.size(), points.size());
}

TEST(Shapes, CaptionsNameTheirFamily) {
  const auto words = caption_words();
  for (int64_t family = 0; family < kFamilies; ++family) {
    std::set<std::string> texts, used;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      const auto caption = caption_of(family, seed);
      EXPECT_NE(caption.text.find(caption.word), std::string::npos);
      EXPECT_EQ(caption.text.find("{}"), std::string::npos);
      EXPECT_TRUE(names_family(caption.word, family));
      texts.insert(caption.text), used.insert(caption.word);
    }
    EXPECT_GE(texts.size(), 10u);
    EXPECT_EQ(used.size(), shape_families()[static_cast<size_t>(family)].words.size());  // each of its words comes
  }
  EXPECT_TRUE(names_family("building", family_named("house")) && names_family("building", family_named("tower")));
  EXPECT_FALSE(names_family("building", family_named("car")));
  for (const auto* word : {"building", "car", "fence", "pole", "tree", "depth", "night", "stairs"})
    EXPECT_TRUE(std::find(words.begin(), words.end(), word) != words.end()) << word;
}

TEST(Shapes, WrongUseIsRefused) {
  EXPECT_THROW(make_shape(kFamilies, 1), InvalidArgument);
  EXPECT_THROW(make_shape(-1, 1), InvalidArgument);
  EXPECT_THROW(make_shape(0, 1, {.points = 99}), InvalidArgument);
}

}  // namespace
}  // namespace graft::pipelines
