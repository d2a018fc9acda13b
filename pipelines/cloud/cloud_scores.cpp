#include "pipelines/cloud/cloud_scores.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/base/error.h"

namespace graft::pipelines {

LabelTally::LabelTally(std::vector<std::string> classes) : classes_(std::move(classes)), matrix_(classes_.size() * (classes_.size() + 1)) {}

void LabelTally::add(int64_t right, int64_t given, double probability, double entropy) {
  const auto classes = static_cast<int64_t>(classes_.size());
  GRAFT_ASSERT(right >= 0 && right < classes && given >= -1 && given < classes);
  ++matrix_[static_cast<size_t>(right * (classes + 1) + (given < 0 ? classes : given))];
  confidence_.push_back(std::clamp(probability, 0.0, 1.0));  // a sum of shares may be 1 + 1e-16
  right_.push_back(right == given);
  entropy_ += entropy;
}

int64_t LabelTally::count(int64_t right, int64_t given) const { return matrix_[static_cast<size_t>(right) * (classes_.size() + 1) + static_cast<size_t>(given)]; }

int64_t LabelTally::correct() const { return std::count(right_.begin(), right_.end(), true); }

int64_t LabelTally::clouds_of(int64_t right) const {
  const auto row = matrix_.begin() + static_cast<int64_t>(static_cast<size_t>(right) * (classes_.size() + 1));
  return std::accumulate(row, row + static_cast<int64_t>(classes_.size()) + 1, int64_t{0});
}

int64_t LabelTally::none() const {
  int64_t sum = 0;
  for (size_t right = 0; right < classes_.size(); ++right) sum += count(static_cast<int64_t>(right), static_cast<int64_t>(classes_.size()));
  return sum;
}

double LabelTally::accuracy() const {
  if (confidence_.empty()) throw InvalidArgument({.where = "eval", .what = "no cloud was scored"});
  return static_cast<double>(correct()) / static_cast<double>(clouds());
}

double LabelTally::mean_class_accuracy() const {
  std::vector<double> shares;
  for (int64_t k = 0; k < static_cast<int64_t>(classes_.size()); ++k)
    if (clouds_of(k) > 0) shares.push_back(static_cast<double>(count(k, k)) / static_cast<double>(clouds_of(k)));
  return mean(shares);
}

double LabelTally::calibration_error() const { return expected_calibration_error(confidence_, right_, kBins); }

std::vector<LabelTally::Bin> LabelTally::bins() const {
  std::vector<Bin> bins(kBins);
  for (size_t i = 0; i < confidence_.size(); ++i) {
    auto& bin = bins[static_cast<size_t>(std::min(kBins - 1, static_cast<int>(confidence_[i] * kBins)))];
    ++bin.clouds;
    bin.confidence += confidence_[i];
    bin.right += right_[i] ? 1 : 0;
  }
  for (auto& bin : bins) {
    if (bin.clouds == 0) continue;
    bin.confidence /= static_cast<double>(bin.clouds);
    bin.right /= static_cast<double>(bin.clouds);
  }
  return bins;
}

nlohmann::ordered_json LabelTally::summary() const {
  using Json = nlohmann::ordered_json;
  const auto classes = static_cast<int64_t>(classes_.size());
  auto per_class = Json::object();
  auto confusion = Json::array(), reliability = Json::array();
  for (int64_t right = 0; right < classes; ++right) {
    const auto of = clouds_of(right);
    per_class[classes_[static_cast<size_t>(right)]] = {
        {"clouds", of}, {"correct", count(right, right)}, {"accuracy", of == 0 ? Json() : Json(static_cast<double>(count(right, right)) / static_cast<double>(of))}};
    auto row = Json::array();
    for (int64_t given = 0; given < classes; ++given) row.push_back(count(right, given));
    confusion.push_back(std::move(row));
  }
  for (const auto& bin : bins()) reliability.push_back({{"clouds", bin.clouds}, {"confidence", bin.confidence}, {"right", bin.right}});
  const auto interval = wilson_interval(correct(), clouds());
  return {{"accuracy", accuracy()}, {"accuracy_interval", {interval.low, interval.high}}, {"mean_class_accuracy", mean_class_accuracy()},
          {"clouds", clouds()}, {"correct", correct()}, {"none_of_these", none()}, {"ece", calibration_error()},
          {"entropy", entropy_ / static_cast<double>(clouds())}, {"classes", classes_}, {"per_class", per_class},
          {"confusion", confusion}, {"reliability", reliability}};
}

}  // namespace graft::pipelines
