#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "peft_core/base/config.h"
#include "peft_core/slots/adapter.h"

namespace graft::peft {

enum class GateNoise { kGumbel, kLogistic, kNone };
inline EnumNames<GateNoise> config_names(GateNoise) {
  return {{"gumbel", GateNoise::kGumbel}, {"logistic", GateNoise::kLogistic}, {"none", GateNoise::kNone}};
}

/// A gate of one logit l that is open or shut: 1[sigmoid((l + noise) / τ) > 1/2], with the sigmoid's gradient. It learns by an AdamW of its own, at a
/// fixed rate, whatever schedule the rest of the run follows.
class PriceGate {
 public:
  struct Options {
    GateNoise noise = GateNoise::kGumbel;
    double temperature = 1.0, rate = 0.05, decay = 0.01;
  };
  explicit PriceGate(const Options& options);

  /// 0 or 1, a scalar; the noise is a function of the seed. One Gumbel sample, not the difference of two, leans the gate to open.
  at::Tensor sample(uint64_t seed) const;
  bool open() const { return logit_.item<float>() >= 0; }
  /// One AdamW step from the logit's gradient, which is cleared.
  void learn();
  at::Tensor logit() const { return logit_; }
  /// Changed in place.
  NamedTensors state() const;

 private:
  Options options_;
  at::Tensor logit_;  // leaf
  at::Tensor adam_;   // first and second moment, steps
};

}  // namespace graft::peft
