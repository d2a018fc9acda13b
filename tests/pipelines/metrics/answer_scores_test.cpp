#include "pipelines/metrics/answer_scores.h"

#include <gmock/gmock.h>

namespace graft::pipelines {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr double kExact = 1e-12;  // fractions of small integers, one rounding each

TEST(AnswerWordsTest, FollowTheSquadRules) {
  EXPECT_THAT(answer_words("The U.S. has an  Apple-tree, a lot!"), ElementsAre("us", "has", "appletree", "lot"));
  EXPECT_THAT(answer_words("the a an"), IsEmpty());
  EXPECT_THAT(answer_words("\u00c9COLE\u00a0th\u00e9"), ElementsAre("\u00e9cole", "th\u00e9"));
}

TEST(AnswerWordsTest, ChineseIsSplitByCharacterWithoutItsPunctuation) {
  EXPECT_THAT(answer_words("施肥20kg，每亩。"), ElementsAre("施", "肥", "20kg", "每", "亩"));
  EXPECT_THAT(answer_words("“水稻”——穗"), ElementsAre("水", "稻", "穗"));
}

TEST(ExactMatchTest, IgnoresCaseArticlesAndPunctuation) {
  EXPECT_EQ(exact_match("The root-zone.", {"soil", "root zone"}),
            0);  // punctuation is deleted, not replaced by a space
  EXPECT_EQ(exact_match("The rootzone.", {"soil", "root-zone"}), 1);
  EXPECT_EQ(exact_match("水稻。", {"水稻"}), 1);
  EXPECT_EQ(exact_match("", {}), 1);
  EXPECT_EQ(exact_match("x", {}), 0);
}

TEST(TokenF1Test, TheCardsCheckValue) {
  EXPECT_EQ(exact_match("apply 20 kg nitrogen", {"20 kg of nitrogen"}), 0);
  EXPECT_NEAR(token_f1("apply 20 kg nitrogen", {"20 kg of nitrogen"}), 0.75, kExact);
}

TEST(TokenF1Test, CountsWordsAsMultisetsAndTakesTheBestGold) {
  // P = 2/3, R = 2/2: the third "very" has no partner.
  EXPECT_NEAR(token_f1("very very very", {"very very"}), 0.8, kExact);
  EXPECT_NEAR(token_f1("wet soil", {"dry sand", "wet clay soil"}), 0.8, kExact);
  // 水稻 against 水田: one of two characters each way.
  EXPECT_NEAR(token_f1("水稻", {"水田"}), 0.5, kExact);
  EXPECT_EQ(token_f1("the", {"a"}), 1);
  EXPECT_EQ(token_f1("the", {"soil"}), 0);
}

TEST(RougeLTest, UsesTheLongestCommonSubsequence) {
  // Lin 2004's example: "police kill the gunman" against "police killed the gunman": lcs 3 of 4 and 4.
  EXPECT_NEAR(rouge_l("police kill the gunman", {"police killed the gunman"}), 0.75, kExact);
  // Its third sentence keeps the words but not their order: lcs 2 ("the gunman").
  EXPECT_NEAR(rouge_l("the gunman kill police", {"police killed the gunman"}), 0.5, kExact);
  // lcs = "a c e" = 3, P = 3/5, R = 3/3, F = 2 * 0.6 / 1.6.
  EXPECT_NEAR(rouge_l("a b c d e", {"a c e"}), 0.75, kExact);
  EXPECT_NEAR(rouge_l("A-B, c!", {"a b c"}), 1, kExact);
  EXPECT_EQ(rouge_l("", {"a"}), 0);
  EXPECT_EQ(rouge_l("...", {"..."}), 0);
}

TEST(RougeLTest, ChineseCountsCharacters) {
  // 水稻施肥 against 水稻要施肥: lcs 4, P = 4/4, R = 4/5, F = 8/9.
  EXPECT_NEAR(rouge_l("水稻施肥。", {"水稻要施肥"}), 8.0 / 9.0, kExact);
}

}  // namespace
}  // namespace graft::pipelines
