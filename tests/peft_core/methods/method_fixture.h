#pragma once

#include <memory>
#include <string>
#include <vector>

#include "peft_core/methods/method.h"
#include "tests/support/tiny_decoder.h"

namespace graft::testing {

/// A tiny model with a method attached: what every test of a method needs.
struct Adapted {
  std::unique_ptr<peft::CausalLm> model;
  std::unique_ptr<peft::Attachment> attachment;

  at::Tensor logits(const TinyBatch& batch) const;
  /// Summed loss of the batch, differentiable; `seed` is the step's dropout seed while training.
  at::Tensor loss(const TinyBatch& batch, bool training = false, uint64_t seed = 0,
                  peft::Checkpointing checkpointing = peft::Checkpointing::kOff) const;
  /// The same number as a double, summed from single tokens: less rounding, for central differences.
  double exact_loss(const TinyBatch& batch) const;

  peft::NamedTensors trainable() const;
  void clear_gradients() const;
  /// parameter -= rate · gradient, `steps` times.
  void train(const TinyBatch& batch, int64_t steps, double rate = 0.02) const;
  /// The same with all that a run asks of a method: a beginning, an auxiliary loss, and what comes before each step.
  void train_a_run(const TinyBatch& batch, int64_t steps, double rate = 0.02) const;
  /// Model and method.
  void move_to(at::Device device) const;
  /// Random values in every trainable tensor, so that nothing is zero: (value + 0.05 · noise).
  void disturb(uint64_t seed) const;
};

/// The linear layer of that name. Throws if there is none.
const peft::LinearSlot& slot_of(const Adapted& adapted, const std::string& name);

/// One batch as the samples of a task, for methods that look at data before they start.
class TinyCalibration final : public peft::Calibration {
 public:
  explicit TinyCalibration(const peft::CausalLm& model) : model_(model) {}
  void run(bool gradients) const override;

 private:
  const peft::CausalLm& model_;
};

/// `options`: more lines of the method section, as YAML: "rank: 4\ndropout: 0.1".
/// Attaches with a TinyCalibration at hand.
Adapted adapt(const std::string& method, const std::string& options = "", const std::string& kind = "qwen2",
              const peft::BaseStorage& storage = kDense, uint64_t seed = 7);
/// Attaches by a section, with a TinyCalibration at hand.
std::unique_ptr<peft::Attachment> attach(peft::CausalLm& model, const std::string& method, const ConfigNode& section, uint64_t seed);
ConfigNode method_section(const std::string& method, const std::string& options);

/// The text of the InvalidArgument that attaching throws, or "accepted".
std::string refusal(const std::string& method, const std::string& options, const std::string& kind = "qwen2");

}  // namespace graft::testing
