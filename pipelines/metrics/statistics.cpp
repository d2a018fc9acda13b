#include "pipelines/metrics/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "kernels/base/error.h"
#include "peft_core/base/rng.h"

namespace graft::pipelines {
namespace {

void require_some(const std::vector<double>& values) {
  if (values.empty())
    throw InvalidArgument({.what = "a statistic of no values", .hint = "is the evaluation set empty?"});
}

}  // namespace

double mean(const std::vector<double>& values) {
  require_some(values);
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Interval wilson_interval(int64_t successes, int64_t trials) {
  GRAFT_ASSERT(successes >= 0 && successes <= trials);
  if (trials == 0) return {0, 1};
  constexpr double z = 1.959963984540054;
  const double n = static_cast<double>(trials), share = static_cast<double>(successes) / n;
  const double scale = 1 + z * z / n, centre = (share + z * z / (2 * n)) / scale;
  const double half = z * std::sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale;
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

Interval bootstrap_interval(const std::vector<double>& values, uint64_t seed, int resamples) {
  require_some(values);
  GRAFT_ASSERT(resamples >= 1);
  RandomStream random(seed, "bootstrap");
  std::vector<double> means(static_cast<size_t>(resamples));
  for (double& resampled : means) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += values[random.below(values.size())];
    resampled = sum / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  const auto at = [&](double share) { return means[static_cast<size_t>(std::lround(share * (resamples - 1)))]; };
  return {at(0.025), at(0.975)};
}

double expected_calibration_error(const std::vector<double>& confidence, const std::vector<bool>& correct, int bins) {
  require_some(confidence);
  GRAFT_ASSERT(bins >= 1);
  if (confidence.size() != correct.size()) {
    throw InvalidArgument({.what = "calibration needs one verdict for each confidence",
                           .expected = std::to_string(confidence.size()),
                           .got = std::to_string(correct.size())});
  }
  std::vector<double> gap(static_cast<size_t>(bins), 0.0);  // sum of (right - confidence) of each bin
  for (size_t i = 0; i < confidence.size(); ++i) {
    if (!(confidence[i] >= 0 && confidence[i] <= 1)) {
      throw InvalidArgument({.what = "a confidence outside 0..1", .got = std::to_string(confidence[i])});
    }
    const auto bin = std::min(static_cast<size_t>(bins) - 1, static_cast<size_t>(confidence[i] * bins));
    gap[bin] += (correct[i] ? 1.0 : 0.0) - confidence[i];
  }
  double sum = 0;
  for (const double bin : gap) sum += std::abs(bin);
  return sum / static_cast<double>(confidence.size());
}

double perplexity(double nats, int64_t targets) {
  if (targets < 1) throw InvalidArgument({.what = "perplexity of no tokens", .hint = "is the evaluation set empty?"});
  return std::exp(nats / static_cast<double>(targets));
}

}  // namespace graft::pipelines
