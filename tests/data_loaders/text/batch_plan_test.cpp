#include "data_loaders/text/batch_plan.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "kernels/base/error.h"

namespace graft::data {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<int64_t> epoch(const BatchPlan& plan, int64_t number, int64_t accumulation) {
  std::vector<int64_t> seen;
  for (int64_t step = number * plan.steps_per_epoch(); step < (number + 1) * plan.steps_per_epoch(); ++step) {
    for (int64_t micro = 0; micro < accumulation; ++micro) {
      const auto indices = plan.indices(step, micro);
      seen.insert(seen.end(), indices.begin(), indices.end());
    }
  }
  return seen;
}

std::vector<int64_t> counted(int64_t size) {
  std::vector<int64_t> all(static_cast<size_t>(size));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

TEST(BatchPlanTest, InOrderWithoutShuffling) {
  const BatchPlan plan({.items = 7, .batch_size = 2, .accumulation = 2, .epochs = 2, .shuffle = false});
  EXPECT_EQ(plan.steps_per_epoch(), 2);
  EXPECT_EQ(plan.total_steps(), 4);
  EXPECT_THAT(plan.indices(0, 0), ElementsAre(0, 1));
  EXPECT_THAT(plan.indices(0, 1), ElementsAre(2, 3));
  EXPECT_THAT(plan.indices(1, 1), ElementsAre(6));
  EXPECT_THAT(plan.indices(2, 0), ElementsAre(0, 1));
}

TEST(BatchPlanTest, TheLastMicroStepsOfAnEpochMayBeEmpty) {
  const BatchPlan plan({.items = 5, .batch_size = 2, .accumulation = 4, .shuffle = false});
  EXPECT_EQ(plan.steps_per_epoch(), 1);
  EXPECT_THAT(plan.indices(0, 2), ElementsAre(4));
  EXPECT_THAT(plan.indices(0, 3), IsEmpty());
}

TEST(BatchPlanTest, EveryEpochVisitsEveryItemOnceInAnotherOrder) {
  for (const int64_t items : {1, 2, 3, 5, 64, 65, 1000}) {
    const BatchPlan plan({.items = items, .batch_size = 3, .accumulation = 2, .epochs = 3, .seed = 11});
    auto first = epoch(plan, 0, 2), second = epoch(plan, 1, 2);
    if (items >= 64) {
      EXPECT_NE(first, second);
      EXPECT_NE(first, counted(items));
    }
    std::sort(first.begin(), first.end());
    std::sort(second.begin(), second.end());
    EXPECT_EQ(first, counted(items));
    EXPECT_EQ(second, counted(items));
  }
}

TEST(BatchPlanTest, IsAPureFunctionOfItsOptions) {
  const BatchPlanOptions options{.items = 100, .batch_size = 4, .max_steps = 500, .seed = 3};
  const BatchPlan a(options), b(options);
  EXPECT_EQ(a.indices(333, 0), b.indices(333, 0));
  auto other = options;
  other.seed = 4;
  EXPECT_NE(epoch(a, 0, 1), epoch(BatchPlan(other), 0, 1));
}

TEST(BatchPlanTest, StepsComeFromMaxStepsOrEpochs) {
  EXPECT_EQ(BatchPlan({.items = 10, .epochs = 3, .max_steps = 7}).total_steps(), 7);
  EXPECT_EQ(BatchPlan({.items = 10, .epochs = 0.25}).total_steps(), 3);
  EXPECT_EQ(BatchPlan({.items = 10, .batch_size = 10, .epochs = 0.1}).total_steps(), 1);
}

TEST(BatchPlanTest, WrongSizesAreNamed) {
  EXPECT_THROW(BatchPlan({.items = 0}), InvalidArgument);
  EXPECT_THROW(BatchPlan({.items = 1, .batch_size = 0}), InvalidArgument);
  EXPECT_THROW(BatchPlan({.items = 1, .accumulation = 0}), InvalidArgument);
  EXPECT_THROW(BatchPlan({.items = 1, .epochs = 0}), InvalidArgument);
  EXPECT_THROW(BatchPlan({.items = 1, .max_steps = -1}), InvalidArgument);
}

TEST(PermutationTest, FirstPlacesAreEvenlySpread) {
  // Which of 10 items comes first, over 10,000 seeds: binomial(10000, 0.1), standard deviation 30; five of them.
  std::vector<int> first(10, 0);
  for (uint64_t seed = 0; seed < 10000; ++seed) ++first[static_cast<size_t>(permuted(0, 10, seed))];
  for (const int count : first) EXPECT_NEAR(count, 1000, 150);
}

}  // namespace
}  // namespace graft::data
