#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "pipelines/metrics/statistics.h"

namespace graft::pipelines {

/// How well a set of clouds was labelled. Throws InvalidArgument where it has counted nothing.
class LabelTally {
 public:
  explicit LabelTally(std::vector<std::string> classes);

  /// `probability` is that of the label given. `given` is -1 for "none of these", which is never right.
  void add(int64_t right, int64_t given, double probability, double entropy);

  const std::vector<std::string>& classes() const { return classes_; }
  int64_t clouds() const { return static_cast<int64_t>(confidence_.size()); }
  int64_t correct() const;
  int64_t clouds_of(int64_t right) const;
  int64_t count(int64_t right, int64_t given) const;  ///< the confusion matrix; given = classes: none of these
  int64_t none() const;                               ///< how many got no label
  double accuracy() const;
  double mean_class_accuracy() const;  ///< of the classes that have clouds
  double calibration_error() const;    ///< 15 bins

  /// Clouds of a range of confidence: bin i of kBins holds i / kBins to (i + 1) / kBins, the last 1 too.
  struct Bin {
    int64_t clouds = 0;
    double confidence = 0, right = 0;  ///< means; 0 where the bin is empty
  };
  static constexpr int kBins = 15;
  std::vector<Bin> bins() const;

  /// accuracy with its 95 % interval, per_class, ece, confusion, entropy, counts.
  nlohmann::ordered_json summary() const;

 private:
  std::vector<std::string> classes_;
  std::vector<int64_t> matrix_;  // (K, K + 1)
  std::vector<double> confidence_;
  std::vector<bool> right_;
  double entropy_ = 0;
};

}  // namespace graft::pipelines
