#pragma once

#include <cstdint>
#include <vector>

namespace graft::pipelines {

struct Interval {
  double low = 0, high = 0;
};

/// 95 % interval of a share: stays inside 0..1 and has width at 0 and 1. No trials: 0..1.
/// Source: Wilson 1927, with z = 1.959964. Check: 8 of 10 gives 0.4902..0.9433.
Interval wilson_interval(int64_t successes, int64_t trials);

/// 95 % interval of a mean by resampling: the 2.5 and 97.5 % points of `resamples` means. The same for the same seed.
/// Throws InvalidArgument for no values. Source: Efron 1979, percentile method.
Interval bootstrap_interval(const std::vector<double>& values, uint64_t seed = 0, int resamples = 2000);

/// How far stated confidence is from the share that is right: sum over bins of n_bin / n * |right share - mean
/// confidence|, over `bins` equal bins of 0..1; 1 belongs to the last. Throws InvalidArgument for unequal lengths, no
/// items or confidence outside 0..1. Source: Naeini et al. 2015.
double expected_calibration_error(const std::vector<double>& confidence, const std::vector<bool>& correct,
                                  int bins = 10);

/// exp(nats / targets). Throws InvalidArgument for no targets.
double perplexity(double nats, int64_t targets);

/// Throws InvalidArgument for no values.
double mean(const std::vector<double>& values);

}  // namespace graft::pipelines
