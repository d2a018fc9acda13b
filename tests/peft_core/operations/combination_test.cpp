#include "peft_core/operations/combination.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "peft_core/operations/pruning.h"

namespace graft::testing {
namespace {

using namespace peft;

at::Tensor noise(at::IntArrayRef sizes, uint64_t seed) {
  auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randn(sizes, random, at::kFloat);
}

LowRankUpdate update(int64_t rank, uint64_t seed, double scale = 2, int64_t out = 24, int64_t in = 40) {
  return {.a = noise({rank, in}, seed), .b = noise({out, rank}, seed + 100), .scale = scale};
}

at::Tensor only(const LowRankUpdates& updates) {
  EXPECT_EQ(updates.size(), 1u);
  return dense_update(updates.front().update);
}

/// Two orders of fp32 sums of some 12 products of size 2·3: a few 1e-6 of values up to 30.
constexpr double kClose = 1e-4;
double apart(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST(Combination, CatAndWideSvdGiveTheWeightedSumForAnyRanks) {
  const auto first = update(4, 1), second = update(7, 2, 0.5);
  const auto sum = dense_update(first) * 0.7 + dense_update(second) * -1.3;
  const std::vector<LowRankUpdates> adapters = {{{"l", first}}, {{"l", second}}};
  const std::vector<double> weights = {0.7, -1.3};
  EXPECT_LT(apart(only(combined(adapters, weights, {.how = Combination::kCat})), sum), kClose);
  EXPECT_LT(apart(only(combined(adapters, weights, {.how = Combination::kSvd, .rank = 11})), sum), kClose);
  EXPECT_EQ(combined(adapters, weights, {.how = Combination::kCat}).front().update.a.size(0), 11);
  EXPECT_EQ(combined(adapters, weights, {.how = Combination::kSvd}).front().update.a.size(0), 7) << "the largest rank by default";
}

TEST(Combination, SvdIsTheNearestMatrixOfItsRank) {
  const auto first = update(6, 1), second = update(6, 2);
  const auto sum = dense_update(first) + dense_update(second);
  const auto [u, s, vt] = at::linalg_svd(sum.to(at::kDouble), false);
  const auto best = at::mm(u.narrow(1, 0, 5) * s.narrow(0, 0, 5), vt.narrow(0, 0, 5)).to(at::kFloat);
  EXPECT_LT(apart(only(combined({{{"l", first}}, {{"l", second}}}, std::vector{1.0, 1.0}, {.how = Combination::kSvd, .rank = 5})), best), kClose);
  for (const auto& matrix : {sum, sum.t().contiguous()}) {
    const auto nearest = nearest_low_rank(matrix, 5);
    EXPECT_LT(apart(dense_update(nearest), matrix.size(0) == 24 ? best : best.t()), kClose) << "from the dense sum";
    EXPECT_LT(apart(at::mm(nearest.a, nearest.a.t()), at::eye(5)), 1e-5);
  }
}

TEST(Combination, LinearOfOneAdapterIsTheAdapterTimesItsWeight) {
  for (const double weight : {0.5, -2.0, 0.0})
    for (const auto& name : combination_names()) {
      const auto result = combined({{{"l", update(4, 3)}}}, std::vector{weight}, {.how = combination(name), .density = 0.5});
      EXPECT_LT(apart(only(result), dense_update(update(4, 3)) * weight), kClose) << name;
    }
}

// 6 values a tensor, so that the right answers can be written down.
TEST(Pruning, KeepsTheLargest) {
  const auto values = at::tensor({3.0f, -5.0f, 1.0f, 0.5f, -2.0f, 4.0f}).view({2, 3});
  EXPECT_TRUE(keep_largest(values, 0.5).equal(at::tensor({3.0f, -5.0f, 0.0f, 0.0f, 0.0f, 4.0f}).view({2, 3})));
  EXPECT_TRUE(keep_largest(values, 0.49).equal(at::tensor({0.0f, -5.0f, 0.0f, 0.0f, 0.0f, 4.0f}).view({2, 3}))) << "2.94 values are 2";
  EXPECT_TRUE(keep_largest(values, 1).equal(values));
  EXPECT_EQ(keep_largest(values, 0).count_nonzero().item<int64_t>(), 0);
}

TEST(Pruning, MajorityOfSignsOrOfSums) {
  const auto a = at::tensor({1.0f, 1.0f, -1.0f}), b = at::tensor({1.0f, 2.0f, 0.0f}), c = at::tensor({-5.0f, 3.0f, 1.0f});
  const auto weights = at::tensor({1.0f, 0.5f, 2.0f});
  // place 0: the sum is negative, so c alone; by number a and b: (1 + 0.5) / 2. place 2: tie, so the positive c alone.
  EXPECT_TRUE(majority_mean({a, b, c}, weights, false).allclose(at::tensor({-10.0f, 8.0f / 3, 2.0f})));
  EXPECT_TRUE(majority_mean({a, b, c}, weights, true).allclose(at::tensor({0.75f, 8.0f / 3, 2.0f})));
}

// Of n = 40,000 values a share of 0.3 ± 5 standard deviations √(0.21 / n) = 0.0115 stays, and their mean is kept: kept values are divided by
// the density, so the mean of ones has a deviation of √(0.7 / 0.3 / n) = 0.0076, times 5.
TEST(Pruning, KeepsARandomShareAndTheMean) {
  auto random = at::make_generator<at::CPUGeneratorImpl>(uint64_t{5});
  const auto kept = keep_at_random(at::ones({200, 200}), 0.3, random);
  EXPECT_NEAR(static_cast<double>(kept.count_nonzero().item<int64_t>()) / 40000, 0.3, 0.0115);
  EXPECT_NEAR(kept.mean().item<double>(), 1, 0.039);
}

TEST(Combination, DareFollowsItsSeed) {
  const std::vector<LowRankUpdates> adapters = {{{"l", update(4, 1)}}, {{"l", update(4, 2)}}};
  for (const auto how : {Combination::kDareLinear, Combination::kDareTies, Combination::kDareLinearSvd, Combination::kDareTiesSvd}) {
    const auto made = [&](uint64_t seed) {
      return only(combined(adapters, std::vector{0.5, 0.5}, {.how = how, .density = 0.5, .seed = seed}));
    };
    EXPECT_TRUE(made(1).equal(made(1)));
    EXPECT_GT(apart(made(1), made(2)), 0.1);
  }
}

TEST(Combination, TakesALayerFromTheAdaptersThatHaveIt) {
  const auto result = combined({{{"x", update(4, 1)}, {"y", update(4, 2)}}, {{"z", update(4, 3)}, {"x", update(4, 4)}}}, std::vector{1.0, 3.0},
                               {.how = Combination::kCat});
  ASSERT_EQ(result.size(), 3u);
  EXPECT_EQ(result[1].layer, "y");
  EXPECT_LT(apart(dense_update(result[1].update), dense_update(update(4, 2))), kClose);
  EXPECT_LT(apart(dense_update(result[2].update), dense_update(update(4, 3)) * 3), kClose);
}

TEST(Combination, RefusesWhatCannotBe) {
  const std::vector<LowRankUpdates> unequal = {{{"l", update(4, 1)}}, {{"l", update(5, 2)}}};
  const auto refused = [](const std::vector<LowRankUpdates>& adapters, std::vector<double> weights, const CombinationOptions& options) {
    try {
      combined(adapters, weights, options);
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(refused(unequal, {1, 1}, {.how = Combination::kTies}).find("different ranks"), std::string::npos);
  EXPECT_NE(refused(unequal, {1}, {}).find("one number for each"), std::string::npos);
  EXPECT_NE(refused(unequal, {1, NAN}, {}).find("no number"), std::string::npos);
  EXPECT_NE(refused(unequal, {1, 1}, {.density = 1.5}).find("out of range"), std::string::npos);
  EXPECT_NE(refused(unequal, {1, 1}, {.how = Combination::kDareTiesSvd, .density = 0}).find("out of range"), std::string::npos);
  EXPECT_NE(refused({}, {}, {}).find("at least one"), std::string::npos);
  EXPECT_NE(refused({{{"l", update(4, 1)}}, {{"l", update(4, 2, 1, 24, 39)}}}, {1, 1}, {}).find("other sizes"), std::string::npos);
  EXPECT_THROW(combination("tie"), InvalidArgument);
}

}  // namespace
}  // namespace graft::testing
