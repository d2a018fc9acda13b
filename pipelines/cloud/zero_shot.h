#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "peft_core/base/config.h"
#include "pipelines/cloud/projection.h"

namespace graft::pipelines {

/// How the scores of a cloud's views become one answer.
///   mean          every view counts the same
///   entropy       the mean of the views whose entropy is not above the median (CLIPoint3D)
///   pointclip     the sum over views of scale * cosine, divided by sqrt(views): what unit features, put end to end, give (PointCLIP)
///   pointclip_v2  the mean with PointCLIP V2's fixed weights of the ten views. The published sum of weighted scores gives the same label;
///                 divided by the weights' sum its probabilities mean the same as those of `mean`.
enum class ZeroShotMode { kMean, kEntropy, kPointclip, kPointclipV2 };

inline EnumNames<ZeroShotMode> config_names(ZeroShotMode) {
  return {{"mean", ZeroShotMode::kMean}, {"entropy", ZeroShotMode::kEntropy}, {"pointclip", ZeroShotMode::kPointclip},
          {"pointclip_v2", ZeroShotMode::kPointclipV2}};
}

/// Throws InvalidArgument for pointclip_v2 with another projection: its weights belong to the ten views of that one.
void expect_fit(ZeroShotMode mode, Projection projection);

/// Scores of one cloud: M views, K classes, row by row.
struct ViewLogits {
  std::span<const float> values;  ///< (M, K), scale * cosine
  int64_t classes = 0;            ///< K > 0

  int64_t views() const { return static_cast<int64_t>(values.size()) / classes; }
  std::span<const float> view(int64_t m) const { return values.subspan(static_cast<size_t>(m * classes), static_cast<size_t>(classes)); }
};

struct CloudAnswer {
  std::vector<double> logits, probabilities;  ///< (K)
  std::vector<double> view_entropy;           ///< (M), nats
  std::vector<int64_t> kept_views;            ///< those that had a say, from 0
  int64_t best = 0;                           ///< the likeliest class, of equals the first
  double entropy = 0;                         ///< of the probabilities, nats

  double probability() const { return probabilities[static_cast<size_t>(best)]; }
};

std::vector<double> softmax(std::span<const double> logits);
/// Nats; 0 log 0 = 0.
double entropy_of(std::span<const double> probabilities);
/// The middle value; of an even number the mean of the two in the middle. For one or more values.
double median(std::vector<double> values);

/// Throws InvalidArgument for pointclip_v2 with another number of views than ten.
CloudAnswer answer_of(const ViewLogits& logits, ZeroShotMode mode);

/// Classes from the likeliest down, at most `most`; of equals the first.
std::vector<int64_t> likeliest(const CloudAnswer& answer, int64_t most);

}  // namespace graft::pipelines
