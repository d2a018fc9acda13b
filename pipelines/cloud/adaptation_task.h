#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data_loaders/text/batch_plan.h"
#include "peft_core/checkpoint/adapter_files.h"
#include "pipelines/cloud/adapted_clip.h"
#include "pipelines/cloud/cloud_samples.h"
#include "pipelines/task.h"

namespace graft::pipelines {

struct AdaptationOptions {
  LossConfig loss;
  data::BatchPlanOptions plan;  ///< batch of the source, and of the target; `items` is filled in by the task
  bool augment = true;
  bool balance = true;          ///< an epoch shows every class of the source equally often
  double scanned = 0;           ///< share of the source's clouds that are seen as a sensor sees them, if `augment`
  int64_t evaluation_batch = 16;
  peft::AdapterOrigin origin;   ///< written beside the adapter
};

/// Few-shot training on labelled clouds and, where there is a target, unsupervised adaptation to it.
///
/// A step looks at a source batch and a target batch of equal size; the classes' texts are encoded once. The target's labels are not there to
/// be looked at: `target.labels` has to be empty.
/// All that a step draws follows from plan.seed, step and micro step.
class AdaptationTask final : public TrainTask {
 public:
  /// `clip` and `attachment` (may be null) outlive the task. `held_out`: labelled clouds for evaluate(), may be empty.
  /// Throws InvalidArgument for no source, or a target with labels.
  AdaptationTask(AdaptedClip& clip, peft::Attachment* attachment, CloudSet source, CloudSet target, CloudSet held_out, AdaptationOptions options);

  int64_t total_steps() const { return plan_->total_steps(); }
  int64_t micro_steps_per_epoch() const { return plan_->steps_per_epoch() * options_.plan.accumulation; }

  int64_t target_count(int64_t step, int64_t micro) override;
  MicroStep accumulate_gradients(int64_t step, int64_t micro, double loss_scale) override;
  /// held_out_loss, held_out_accuracy; source_accuracy, target_entropy (mean over all clouds of the entropy of the prediction).
  Metrics evaluate() override;
  std::vector<ParameterGroup> trainable_parameters() override;
  std::vector<FrozenTensor> frozen_tensors() override;
  std::vector<std::pair<std::string, at::Tensor>> start_tensors() override;
  void begin(int64_t total_steps) override;
  void before_step(int64_t step, double gradient_scale) override;
  bool after_step(int64_t step) override;
  bool parts_may_rest() const override { return attachment_ != nullptr && attachment_->parts_may_rest(); }
  void save(const std::string& run_dir) override;

  /// Mean entropy of the target's predictions, in nats.
  double target_entropy() const;
  /// Gives every trained tensor the value that it had when the task was made.
  void restore_start();
  /// The parts of the latest step's loss, before their weights.
  const Metrics& loss_parts() const { return parts_; }

 private:
  struct Half {
    CloudScores scores;
    at::Tensor kept, logits;  ///< (B, M) bool, (B, K)
    at::Tensor anchor;        ///< (B, K) probabilities before training, of target clouds
  };
  Half look(const CloudBatch& batch, const at::Tensor& texts, const peft::ForwardContext& context) const;
  at::Tensor loss_of(const Half& source, const at::Tensor& labels, const Half* target);
  at::Tensor prototype_part(const Half& target) const;
  BatchOptions batch_options(uint64_t seed, bool augment) const;
  CloudBatch source_batch(const std::vector<int64_t>& places, uint64_t seed) const;
  /// All clouds of a set in evaluation mode: logits (N, K) and mean features (N, J).
  std::pair<at::Tensor, at::Tensor> predictions(const CloudSet& set) const;
  void renew_prototypes();

  AdaptedClip& clip_;
  peft::Attachment* attachment_;
  CloudSet source_, target_, held_out_;
  AdaptationOptions options_;
  std::vector<int64_t> order_;  // of the source's clouds: what plan_ counts
  std::unique_ptr<data::BatchPlan> plan_, target_plan_;
  at::Tensor anchors_;     // (N, K): what the start says about the target's clouds; undefined if no loss asks for it
  at::Tensor prototypes_;  // (K, J); zeros until the first are computed
  std::vector<std::pair<at::Tensor, at::Tensor>> starts_;  // leaf, its first value
  Metrics parts_;
};

}  // namespace graft::pipelines
