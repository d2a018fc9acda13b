#include "pipelines/cloud/zero_shot.h"

#include <gmock/gmock.h>

#include <cmath>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

using ::testing::ElementsAre;

// The card's check values of the choice of views (2.9, 5): four views, three classes. Given with four digits: half a unit of the last.
const std::vector<float> kCard = {4, 0, 0, 3, 0, 0, 1, 0, 0, 0, 0, 0};
constexpr double kFourDigits = 6e-5;

CloudAnswer answered(ZeroShotMode mode) { return answer_of({.values = kCard, .classes = 3}, mode); }

TEST(ZeroShot, EntropyChoiceHasTheCardsValues) {
  const auto answer = answered(ZeroShotMode::kEntropy);
  const std::vector<double> expected = {.1773, .3666, .9753, 1.0986};
  for (size_t m = 0; m < 4; ++m) EXPECT_NEAR(answer.view_entropy[m], expected[m], kFourDigits) << m;
  EXPECT_NEAR(median(answer.view_entropy), .6710, kFourDigits);
  EXPECT_THAT(answer.kept_views, ElementsAre(0, 1));
  EXPECT_THAT(answer.logits, ElementsAre(3.5, 0, 0));
  EXPECT_EQ(answer.best, 0);
  EXPECT_NEAR(answer.probability(), std::exp(3.5) / (std::exp(3.5) + 2), 1e-15);
}

TEST(ZeroShot, MeanCountsAllViewsAndPointclipDividesTheirSumByARoot) {
  EXPECT_THAT(answered(ZeroShotMode::kMean).logits, ElementsAre(2, 0, 0));
  EXPECT_THAT(answered(ZeroShotMode::kPointclip).logits, ElementsAre(4, 0, 0));  // 8 / sqrt(4)
  EXPECT_THAT(answered(ZeroShotMode::kMean).kept_views, ElementsAre(0, 1, 2, 3));
}

TEST(ZeroShot, V2WeighsItsTenViewsAndRefusesOthers) {
  std::vector<float> ten(20, 0.0f);
  for (size_t m = 0; m < 10; ++m) ten[2 * m] = static_cast<float>(1 << m);
  // .75 (1 + 2 + 4 + 16 + 256) + .25 (8 + 64 + 512) + 1 (32 + 128), by the published weights, whose sum is 6.5.
  const double sum = .75 * (1 + 2 + 4 + 16 + 256) + .25 * (8 + 64 + 512) + (32 + 128);
  EXPECT_NEAR(answer_of({.values = ten, .classes = 2}, ZeroShotMode::kPointclipV2).logits[0], sum / 6.5, 1e-12);
  EXPECT_THROW(answered(ZeroShotMode::kPointclipV2), InvalidArgument);
}

TEST(ZeroShot, V2sWeightsBelongToItsOwnViews) {
  EXPECT_NO_THROW(expect_fit(ZeroShotMode::kPointclipV2, Projection::kPointclipV2));
  for (const auto projection : {Projection::kPointclip, Projection::kPointclipTen}) {
    EXPECT_THROW(expect_fit(ZeroShotMode::kPointclipV2, projection), InvalidArgument);
    EXPECT_NO_THROW(expect_fit(ZeroShotMode::kPointclip, projection));
  }
}

TEST(ZeroShot, TiedViewsAllStay) {
  const std::vector<float> same(10 * 3, 1.0f);
  const auto answer = answer_of({.values = same, .classes = 3}, ZeroShotMode::kEntropy);
  EXPECT_EQ(answer.kept_views.size(), 10u);
  EXPECT_NEAR(answer.entropy, std::log(3.0), 1e-15);
}

TEST(ZeroShot, LargeScoresDoNotOverflow) {
  const std::vector<float> large = {1e4f, -1e4f, 0};
  const auto answer = answer_of({.values = large, .classes = 3}, ZeroShotMode::kPointclip);
  EXPECT_EQ(answer.probability(), 1.0);
  EXPECT_EQ(answer.entropy, 0.0);
}

TEST(ZeroShot, LikeliestComesInOrderAndKeepsToWhatThereIs) {
  const std::vector<float> one = {1, 3, 3, 2};
  const auto answer = answer_of({.values = one, .classes = 4}, ZeroShotMode::kMean);
  EXPECT_THAT(likeliest(answer, 3), ElementsAre(1, 2, 3));
  EXPECT_THAT(likeliest(answer, 9), ElementsAre(1, 2, 3, 0));
  EXPECT_TRUE(likeliest(answer, 0).empty());
}

}  // namespace
}  // namespace graft::pipelines
