#pragma once

#include <cstdint>

#include "data_loaders/text/token_set.h"
#include "peft_core/backbones/causal_lm.h"
#include "peft_core/methods/method.h"

namespace graft::pipelines {

/// Samples of the training set, spread evenly over it, for methods whose start depends on data. One sample a pass, so that what a method sees
/// of a sample does not depend on the others. Model and samples outlive it.
class LanguageCalibration final : public peft::Calibration {
 public:
  /// `count` samples at most.
  LanguageCalibration(const peft::CausalLm& model, const data::TokenSet& samples, int64_t count);
  void run(bool gradients) const override;

 private:
  const peft::CausalLm& model_;
  const data::TokenSet& samples_;
  int64_t count_;
};

}  // namespace graft::pipelines
