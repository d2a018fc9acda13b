#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "peft_core/methods/low_rank/self_gated.h"
#include "peft_core/slots/adapter.h"

namespace graft::peft {

enum class StepScaling { kClasses, kHomogeneity, kNone };
inline EnumNames<StepScaling> config_names(StepScaling) {
  return {{"classes", StepScaling::kClasses}, {"homogeneity", StepScaling::kHomogeneity}, {"none", StepScaling::kNone}};
}

struct ChannelGainOptions {
  SelfGated activation = SelfGated::kSilu;
  double decay = 0.99;              ///< γ
  double kept_share = 0.5;          ///< ρ
  std::optional<double> threshold;  ///< τ
  double floor = 0;                 ///< m of the other channels
  StepScaling scaling = StepScaling::kClasses;
  double positive = 1.0, transitional = 0.5, suppressed = 0.1;  ///< weights of the classes
  int64_t start = 100, refresh = 10;
  int64_t sampled_tokens = 256;
};

/// What training remembers of a gate's channels, and how far each of them may learn.
///   D ← γ D + (1 − γ) · mean over a step's tokens of |φ'(z)|;   m = 1 for the share ρ of channels with the largest D, else the floor
///   c = mean of the weight of z's class: z > 0, z between φ's minimum and 0, z below
class ChannelGain {
 public:
  ChannelGain(std::string name, int64_t channels, const ChannelGainOptions& options);

  /// Takes in pre-activations z (N, channels), of at most `sampled_tokens` tokens evenly spread.
  void watch(const at::Tensor& z);
  /// A step is over: averages what was watched, and makes m and c anew where it is time for it.
  void end_step(int64_t step);

  const at::Tensor& mask() const { return mask_; }      ///< m (channels), 1 before the start
  const at::Tensor& factor() const { return factor_; }  ///< c (channels), 1 before the start and without scaling
  const at::Tensor& importance() const { return importance_; }  ///< D (channels)
  /// False while every m and c is 1.
  bool at_work() const;
  /// What a resumed run needs, changed in place.
  NamedTensors state() const;
  void move_to(at::Device device) const;

 private:
  at::Tensor class_weights(const at::Tensor& z) const;
  void refresh(int64_t step);

  std::string name_;
  ChannelGainOptions options_;
  at::Tensor importance_, weight_, mask_, factor_;
  at::Tensor importance_sum_, weight_sum_;  // of the step so far
  int64_t tokens_ = 0;
};

}  // namespace graft::peft
