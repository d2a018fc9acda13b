#include "pipelines/cloud/cloud_scores.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "pipelines/cloud/score_figures.h"

namespace graft::pipelines {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// 3 cars right at 90 %, 1 taken for a tree at 70 %; 1 tree right at 60 %, 1 given no label at 30 %; no pole.
LabelTally some() {
  LabelTally tally({"car", "tree", "pole"});
  for (int i = 0; i < 3; ++i) tally.add(0, 0, .9, .1);
  tally.add(0, 1, .7, .5);
  tally.add(1, 1, .6, .6);
  tally.add(1, -1, .3, .9);
  return tally;
}

TEST(LabelTally, CountsAndShares) {
  const auto tally = some();
  EXPECT_EQ(tally.clouds(), 6);
  EXPECT_EQ(tally.correct(), 4);
  EXPECT_DOUBLE_EQ(tally.accuracy(), 4.0 / 6);
  EXPECT_DOUBLE_EQ(tally.mean_class_accuracy(), (.75 + .5) / 2);
  EXPECT_EQ(tally.count(0, 0), 3);
  EXPECT_EQ(tally.count(0, 1), 1);
  EXPECT_EQ(tally.count(1, 0), 0);
  EXPECT_EQ(tally.none(), 1);
  EXPECT_EQ(tally.clouds_of(2), 0);
  // Each confidence is in a bin of its own: |3 - 2.7| + |0 - .7| + |1 - .6| + |0 - .3| over 6.
  EXPECT_NEAR(tally.calibration_error(), (.3 + .7 + .4 + .3) / 6, 1e-12);
}

TEST(LabelTally, BinsHoldWhatFallsIntoThem) {
  LabelTally tally({"a", "b"});
  tally.add(0, 0, 1.0, 0);
  tally.add(0, 1, 14.5 / 15, 0);
  tally.add(0, 0, 0.0, 0);
  const auto bins = tally.bins();
  EXPECT_EQ(bins[14].clouds, 2);
  EXPECT_DOUBLE_EQ(bins[14].right, .5);
  EXPECT_EQ(bins[0].clouds, 1);
  EXPECT_EQ(bins[7].clouds, 0);
}

TEST(LabelTally, SummaryHasAllThatIsPromised) {
  const auto summary = some().summary();
  for (const char* key : {"accuracy", "accuracy_interval", "mean_class_accuracy", "clouds", "ece", "entropy", "per_class", "confusion", "reliability"})
    EXPECT_TRUE(summary.contains(key)) << key;
  EXPECT_EQ(summary["confusion"], nlohmann::ordered_json::parse("[[3,1,0],[0,1,0],[0,0,0]]"));
  EXPECT_TRUE(summary["per_class"]["pole"]["accuracy"].is_null());
  EXPECT_DOUBLE_EQ(summary["per_class"]["car"]["accuracy"], .75);
  EXPECT_NEAR(summary["entropy"], (.3 + .5 + .6 + .9) / 6, 1e-12);
}

TEST(LabelTally, NothingCountedIsAnError) {
  EXPECT_THROW(LabelTally({"a"}).accuracy(), InvalidArgument);
}

TEST(ScoreFigures, ShowEachClassAndNoMarkup) {
  LabelTally tally({"<b>car</b>", "tree"});
  tally.add(0, 0, .9, .1);
  tally.add(1, -1, .9, .1);
  for (const auto& svg : {confusion_svg(tally), per_class_svg(tally)}) {
    EXPECT_THAT(svg, HasSubstr("&lt;b&gt;car"));
    EXPECT_THAT(svg, Not(HasSubstr("<b>")));
    EXPECT_THAT(svg, HasSubstr("tree"));
  }
  EXPECT_THAT(confusion_svg(tally), HasSubstr("none of these"));
  EXPECT_THAT(reliability_svg(tally), HasSubstr("2 clouds: 90.0 % sure, 50.0 % right"));
}

}  // namespace
}  // namespace graft::pipelines
