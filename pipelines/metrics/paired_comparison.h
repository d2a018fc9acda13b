#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipelines/metrics/statistics.h"

namespace graft::pipelines {

/// Scores of the same items before and after.
struct PairedComparison {
  int64_t items = 0, better = 0, worse = 0, equal = 0;  ///< better: the score after is higher
  double mean_before = 0, mean_after = 0;
  double mean_difference = 0;  ///< after - before
  Interval difference;         ///< 95 %, bootstrap over items
  double sign_p = 1;  ///< two-sided sign test on better and worse; for right/wrong scores this is McNemar's exact test
  double permutation_p = 1;  ///< two-sided, of the mean difference when signs are flipped; exact up to 16 unequal items
};

/// Throws InvalidArgument for unequal lengths or no items. Deterministic for a seed.
PairedComparison compare_paired(const std::vector<double>& before, const std::vector<double>& after, uint64_t seed = 0);

/// P(at most min(better, worse) or at least max(better, worse) of the unequal ones by fair coins).
double sign_test(int64_t better, int64_t worse);

/// "0.412 -> 0.530 (+0.118, 95 % +0.05..+0.19; 31 better, 12 worse, p 0.005)"
std::string to_text(const PairedComparison& comparison);

}  // namespace graft::pipelines
