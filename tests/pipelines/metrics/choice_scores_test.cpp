#include "pipelines/metrics/choice_scores.h"

#include <gmock/gmock.h>

#include <set>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

using ::testing::ElementsAre;

TEST(ChoiceTallyTest, OnlyTheExactSetIsRightAndSilenceIsCountedApart) {
  ChoiceTally tally;
  EXPECT_TRUE(tally.add("B", "B"));
  EXPECT_TRUE(tally.add("AD", "AD"));
  EXPECT_FALSE(tally.add("A", "AD"));
  EXPECT_FALSE(tally.add("ABD", "AD"));
  EXPECT_FALSE(tally.add(std::nullopt, "A"));
  EXPECT_EQ(tally.items(), 5);
  EXPECT_EQ(tally.correct(), 2);
  EXPECT_EQ(tally.unparseable(), 1);
  EXPECT_DOUBLE_EQ(tally.accuracy(), 0.4);
}

TEST(OptionOrderTest, IsAPermutationThatDiffersFromTheFilesAndRepeats) {
  std::set<std::vector<int>> seen;
  for (uint64_t item = 0; item < 200; ++item) {
    const auto order = shuffled_option_order(4, 7, item);
    EXPECT_THAT(order, ::testing::UnorderedElementsAre(0, 1, 2, 3));
    EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
    EXPECT_EQ(order, shuffled_option_order(4, 7, item));
    seen.insert(order);
  }
  EXPECT_GT(seen.size(), 15u);  // of 23
  EXPECT_THAT(shuffled_option_order(2, 1, 1), ElementsAre(1, 0));
  EXPECT_THAT(shuffled_option_order(1, 1, 1), ElementsAre(0));
}

TEST(OptionOrderTest, LettersAreTranslatedBothWays) {
  const std::vector<int> order{2, 0, 3, 1};  // shown A is the file's C
  EXPECT_EQ(letters_in_file("AB", order), "AC");
  EXPECT_EQ(letters_as_shown("AC", order), "AB");
  EXPECT_EQ(letters_as_shown("D", order), "C");
}

TEST(ConsistencyTest, IsTheShareOfTheSameContent) {
  EXPECT_DOUBLE_EQ(order_consistency({"A", "BC", std::nullopt, "D"}, {"A", "BC", std::nullopt, "C"}), 0.5);
  EXPECT_THROW(order_consistency({"A"}, {}), InvalidArgument);
  EXPECT_THROW(order_consistency({}, {}), InvalidArgument);
}

}  // namespace
}  // namespace graft::pipelines
