#include "pipelines/metrics/paired_comparison.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/base/error.h"
#include "peft_core/base/rng.h"

namespace graft::pipelines {
namespace {

constexpr size_t kExactLimit = 16;
constexpr int kDraws = 10000;

/// Rounding must not turn an equal sum into a smaller one.
bool reaches(double sum, double observed) { return std::abs(sum) >= std::abs(observed) * (1 - 1e-12); }

double sum_with_signs(const std::vector<double>& values, uint64_t flipped) {
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += ((flipped >> i) & 1) != 0 ? -values[i] : values[i];
  return sum;
}

double permutation_test(const std::vector<double>& unequal, uint64_t seed) {
  if (unequal.empty()) return 1.0;
  const double observed = sum_with_signs(unequal, 0);
  if (unequal.size() <= kExactLimit) {
    int64_t reached = 0;
    const uint64_t patterns = uint64_t{1} << unequal.size();
    for (uint64_t pattern = 0; pattern < patterns; ++pattern)
      reached += reaches(sum_with_signs(unequal, pattern), observed);
    return static_cast<double>(reached) / static_cast<double>(patterns);
  }
  RandomStream random(seed, "permutation");
  int64_t reached = 1;  // the observed order is one of the draws, so that p is never 0
  for (int draw = 0; draw < kDraws; ++draw) {
    double sum = 0;
    for (const double value : unequal) sum += (random.next() >> 63) != 0 ? -value : value;
    reached += reaches(sum, observed);
  }
  return static_cast<double>(reached) / (kDraws + 1);
}

}  // namespace

double sign_test(int64_t better, int64_t worse) {
  const int64_t n = better + worse, fewer = std::min(better, worse);
  const auto log_choose = [&](int64_t k) {
    return std::lgamma(static_cast<double>(n) + 1) - std::lgamma(static_cast<double>(k) + 1) -
           std::lgamma(static_cast<double>(n - k) + 1);
  };
  double tail = 0;
  for (int64_t k = 0; k <= fewer; ++k) tail += std::exp(log_choose(k) - static_cast<double>(n) * std::log(2.0));
  return std::min(1.0, 2 * tail);
}

PairedComparison compare_paired(const std::vector<double>& before, const std::vector<double>& after, uint64_t seed) {
  if (before.size() != after.size()) {
    throw InvalidArgument({.what = "before and after are not of the same items",
                           .expected = std::to_string(before.size()) + " scores",
                           .got = std::to_string(after.size())});
  }
  PairedComparison result{
      .items = static_cast<int64_t>(before.size()), .mean_before = mean(before), .mean_after = mean(after)};
  std::vector<double> differences, unequal;
  for (size_t i = 0; i < before.size(); ++i) {
    const double difference = after[i] - before[i];
    differences.push_back(difference);
    if (difference != 0) unequal.push_back(difference);
    result.better += difference > 0;
    result.worse += difference < 0;
    result.equal += difference == 0;
  }
  result.mean_difference = mean(differences);
  result.difference = bootstrap_interval(differences, seed);
  result.sign_p = sign_test(result.better, result.worse);
  result.permutation_p = permutation_test(unequal, seed);
  return result;
}

std::string to_text(const PairedComparison& c) {
  char line[200];
  std::snprintf(line, sizeof line, "%.3f -> %.3f (%+.3f, 95 %% %+.3f..%+.3f; %lld better, %lld worse, p %.3g)",
                c.mean_before, c.mean_after, c.mean_difference, c.difference.low, c.difference.high,
                static_cast<long long>(c.better), static_cast<long long>(c.worse), c.permutation_p);
  return line;
}

}  // namespace graft::pipelines
