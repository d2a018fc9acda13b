#include "pipelines/metrics/statistics.h"

#include <gmock/gmock.h>

#include <cmath>

#include "kernels/base/error.h"
#include "pipelines/metrics/paired_comparison.h"

namespace graft::pipelines {
namespace {

TEST(WilsonTest, HandComputedValues) {
  // p = 0.8, n = 10, z^2 = 3.841459: centre (0.8 + 0.192073) / 1.384146 = 0.716740, half 1.959964 sqrt(0.016 +
  // 0.0096036) / 1.384146 = 0.226578.
  const auto interval = wilson_interval(8, 10);
  EXPECT_NEAR(interval.low, 0.490162, 2e-6);
  EXPECT_NEAR(interval.high, 0.943318, 2e-6);
  // At 0 of n the lower end is 0 and the upper z^2 / (n + z^2).
  EXPECT_NEAR(wilson_interval(0, 10).low, 0, 1e-12);
  EXPECT_NEAR(wilson_interval(0, 10).high, 3.841459 / 13.841459, 1e-6);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
}

TEST(BootstrapTest, IsDeterministicAndCoversWhatItShould) {
  std::vector<double> values;
  for (int i = 0; i < 400; ++i) values.push_back(i % 4 == 0 ? 1 : 0);
  const auto interval = bootstrap_interval(values, 3);
  EXPECT_EQ(interval.low, bootstrap_interval(values, 3).low);
  // The normal approximation: 0.25 +- 1.96 sqrt(0.25 * 0.75 / 400) = 0.25 +- 0.0424. The ends of 2000 resamples scatter
  // by about 0.0217 sqrt(0.025 * 0.975 / 2000) / 0.0584 = 0.001; a mean moves in steps of 0.0025. 0.006 is four
  // scatters and a step.
  EXPECT_NEAR(interval.low, 0.2076, 0.006);
  EXPECT_NEAR(interval.high, 0.2924, 0.006);
  EXPECT_EQ(bootstrap_interval({2.0, 2.0}).low, 2.0);
  EXPECT_THROW(bootstrap_interval({}), InvalidArgument);
}

TEST(CalibrationTest, HandComputedBins) {
  // Bin 0.9..1: confidences 0.95, 0.95, one right: 2/4 * |0.5 - 0.95| = 0.225. Bin 0.5..0.6: 0.5 right, 0.55 wrong: 2/4
  // * |0.5 - 0.525| = 0.0125.
  EXPECT_NEAR(expected_calibration_error({0.95, 0.95, 0.5, 0.55}, {true, false, true, false}), 0.2375, 1e-12);
  EXPECT_NEAR(expected_calibration_error({1.0, 0.0}, {true, false}), 0, 1e-12);
  EXPECT_NEAR(expected_calibration_error({1.0}, {false}), 1, 1e-12);
  EXPECT_THROW(expected_calibration_error({1.5}, {true}), InvalidArgument);
  EXPECT_THROW(expected_calibration_error({0.5}, {}), InvalidArgument);
  EXPECT_THROW(expected_calibration_error({std::nan("")}, {true}), InvalidArgument);
}

TEST(PerplexityTest, IsTheExponentialOfTheMean) {
  EXPECT_NEAR(perplexity(4 * std::log(8.0), 4), 8, 1e-12);
  EXPECT_THROW(perplexity(0, 0), InvalidArgument);
}

TEST(SignTest, HandComputedTails) {
  EXPECT_NEAR(sign_test(5, 0), 2.0 / 32, 1e-12);
  EXPECT_NEAR(sign_test(8, 2), 2.0 * (1 + 10 + 45) / 1024, 1e-12);
  EXPECT_NEAR(sign_test(3, 3), 1, 1e-12);
  EXPECT_NEAR(sign_test(0, 0), 1, 1e-12);
}

TEST(PairedTest, ExactPermutationOfFewItems) {
  // Differences 1, 2, 3: |sum| = 6 only for all signs equal: 2 of 8. One equal pair does not count.
  const auto result = compare_paired({0, 0, 0, 5}, {1, 2, 3, 5});
  EXPECT_EQ(result.better, 3);
  EXPECT_EQ(result.worse, 0);
  EXPECT_EQ(result.equal, 1);
  EXPECT_NEAR(result.mean_difference, 1.5, 1e-12);
  EXPECT_NEAR(result.permutation_p, 0.25, 1e-12);
  EXPECT_NEAR(result.sign_p, 0.25, 1e-12);
  // Differences 1, -1: every pattern has |sum| >= 0.
  EXPECT_NEAR(compare_paired({0, 1}, {1, 0}).permutation_p, 1, 1e-12);
}

TEST(PairedTest, ManyItemsAreSampled) {
  std::vector<double> before(100, 0), after(100, 0);
  for (size_t i = 0; i < 100; ++i)
    after[i] = i < 60 ? 1 : -1;  // sum 20 of 100 coin flips: two-sided p = 0.0569 (binomial)
  const auto result = compare_paired(before, after, 5);
  // 10,000 draws: standard error sqrt(0.057 * 0.943 / 10000) = 0.0023; four of them.
  EXPECT_NEAR(result.permutation_p, 0.0569, 0.0093);
  EXPECT_NEAR(result.sign_p, 0.0569, 0.0001);
  EXPECT_EQ(result.permutation_p, compare_paired(before, after, 5).permutation_p);
  EXPECT_THAT(to_text(result), ::testing::HasSubstr("60 better, 40 worse"));
  EXPECT_THROW(compare_paired({1}, {}), InvalidArgument);
  EXPECT_THROW(compare_paired({}, {}), InvalidArgument);
}

}  // namespace
}  // namespace graft::pipelines
