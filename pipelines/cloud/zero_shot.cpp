#include "pipelines/cloud/zero_shot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

// For ViT-B/16 on ModelNet40, as published with PointCLIP V2.
constexpr std::array<double, 10> kV2Weights = {.75, .75, .75, .25, .75, 1, .25, 1, .75, .25};

/// How much each view counts.
std::vector<double> view_weights(const CloudAnswer& answer, ZeroShotMode mode) {
  const size_t views = answer.view_entropy.size();
  std::vector<double> weights(views, 1.0 / static_cast<double>(views));
  if (mode == ZeroShotMode::kPointclip) std::fill(weights.begin(), weights.end(), 1.0 / std::sqrt(static_cast<double>(views)));
  if (mode == ZeroShotMode::kEntropy) {
    const double middle = median(answer.view_entropy);
    std::transform(answer.view_entropy.begin(), answer.view_entropy.end(), weights.begin(), [&](double h) { return h <= middle ? 1.0 : 0.0; });
    const double kept = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (auto& weight : weights) weight /= kept;
  }
  if (mode == ZeroShotMode::kPointclipV2) {
    if (views != kV2Weights.size())
      throw InvalidArgument({.where = "zero_shot.mode", .what = "pointclip_v2 has weights for ten views", .got = std::to_string(views)});
    const double sum = std::accumulate(kV2Weights.begin(), kV2Weights.end(), 0.0);
    std::transform(kV2Weights.begin(), kV2Weights.end(), weights.begin(), [&](double weight) { return weight / sum; });
  }
  return weights;
}

}  // namespace

void expect_fit(ZeroShotMode mode, Projection projection) {
  if (mode != ZeroShotMode::kPointclipV2 || projection == Projection::kPointclipV2) return;
  throw InvalidArgument({.where = "zero_shot.mode", .what = "pointclip_v2 has weights for the views of projection pointclip_v2 only", .expected = "mean, entropy or pointclip",
                         .got = "projection " + enum_name(projection)});
}

std::vector<double> softmax(std::span<const double> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> shares;
  for (const double logit : logits) shares.push_back(std::exp(logit - top));
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (auto& share : shares) share /= sum;
  return shares;
}

double entropy_of(std::span<const double> probabilities) {
  double sum = 0;
  for (const double p : probabilities) sum -= p > 0 ? p * std::log(p) : 0.0;
  return sum;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

CloudAnswer answer_of(const ViewLogits& logits, ZeroShotMode mode) {
  CloudAnswer answer;
  for (int64_t m = 0; m < logits.views(); ++m) {
    const auto row = logits.view(m);
    answer.view_entropy.push_back(entropy_of(softmax(std::vector<double>(row.begin(), row.end()))));
  }
  const auto weights = view_weights(answer, mode);
  answer.logits.assign(static_cast<size_t>(logits.classes), 0.0);
  for (int64_t m = 0; m < logits.views(); ++m) {
    const double weight = weights[static_cast<size_t>(m)];
    if (weight == 0) continue;
    answer.kept_views.push_back(m);
    for (size_t k = 0; k < answer.logits.size(); ++k) answer.logits[k] += weight * static_cast<double>(logits.view(m)[k]);
  }
  answer.probabilities = softmax(answer.logits);
  answer.best = std::max_element(answer.probabilities.begin(), answer.probabilities.end()) - answer.probabilities.begin();
  answer.entropy = entropy_of(answer.probabilities);
  return answer;
}

std::vector<int64_t> likeliest(const CloudAnswer& answer, int64_t most) {
  std::vector<int64_t> order(answer.probabilities.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return answer.probabilities[static_cast<size_t>(a)] > answer.probabilities[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(std::clamp<int64_t>(most, 0, static_cast<int64_t>(order.size()))));
  return order;
}

}  // namespace graft::pipelines
