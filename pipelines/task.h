#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "pipelines/frozen_tensor.h"

namespace graft::pipelines {

using Metrics = std::map<std::string, double>;

/// Parameters that share learning rate factor and weight decay.
struct ParameterGroup {
  std::string name;                                            ///< "adapters", "lora_B", "norms", ...
  std::vector<std::pair<std::string, at::Tensor>> parameters;  ///< name -> leaf tensor with requires_grad
  double learning_rate_factor = 1.0;                           ///< LoRA+ gives lora_B more than 1
  bool weight_decay = true;
};

/// What one micro step contributes. The gradient of `loss_sum / normaliser` is accumulated; the trainer chooses the
/// normaliser so that a step's loss is the mean over all targets of all its micro steps.
struct MicroStep {
  double loss_sum = 0;       ///< sum over targets, nats
  int64_t target_count = 0;  ///< tokens (or items) that the loss covers
  int64_t token_count = 0;   ///< tokens that went through the model
};

/// What is learnt; train() says how. The task owns model and data. `step` and `micro` count from 0 in all calls
/// (records and messages for people count steps from 1). Trainable tensors are contiguous fp32 leaves on the CPU.
class TrainTask {
 public:
  virtual ~TrainTask() = default;

  /// Number of loss targets in micro step `micro` of step `step`; cheap, no model work.
  virtual int64_t target_count(int64_t step, int64_t micro) = 0;
  /// Forward and backward of one micro step: accumulates d(loss_sum * loss_scale)/d(parameter) into the parameters'
  /// grad. A pure function of (step, micro, parameters, seed), so that a resumed run repeats it bit for bit.
  virtual MicroStep accumulate_gradients(int64_t step, int64_t micro, double loss_scale) = 0;
  /// No gradients, no side effects on training.
  virtual Metrics evaluate() { return {}; }
  virtual std::vector<ParameterGroup> trainable_parameters() = 0;
  /// Tensors that training must not change; train() samples their bytes at the start and fails if they differ later.
  virtual std::vector<FrozenTensor> frozen_tensors() { return {}; }
  /// Called after each optimizer step; true if parameters were replaced and optimizer state must be rebuilt.
  virtual bool after_step(int64_t) { return false; }
  /// True if a trainable tensor may have a zero gradient for many steps; then that is no error.
  virtual bool parts_may_rest() const { return false; }
  /// Writes what a user keeps (adapter files) into the run folder, atomically.
  virtual void save(const std::string& run_dir) = 0;
  /// Tensors that a random or computed start decided and that are not trained, and what a method keeps about the run; they are part of a saved
  /// state, so that a resumed run has the same bits whatever its start would compute.
  virtual std::vector<std::pair<std::string, at::Tensor>> start_tensors() { return {}; }
  /// Called before the first step of this call of train(), before a saved state is put back.
  virtual void begin(int64_t /*total_steps*/) {}
  /// Called before each optimizer step: the parameters' grads are complete, and the optimizer takes them times `gradient_scale`.
  virtual void before_step(int64_t /*step*/, double /*gradient_scale*/) {}
};

}  // namespace graft::pipelines
