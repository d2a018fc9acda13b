#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data_loaders/text/batch_plan.h"
#include "data_loaders/text/packing.h"
#include "data_loaders/text/token_set.h"
#include "pipelines/language/language_model.h"
#include "pipelines/task.h"

namespace graft::pipelines {

struct LanguageTaskOptions {
  data::BatchPlanOptions plan;       ///< `items` is filled in by the task
  bool packing = true;
  int64_t max_length = 512;
  peft::Checkpointing checkpointing = peft::Checkpointing::kOff;
  double lora_plus_ratio = 1;
  peft::AdapterOrigin origin;        ///< written beside the adapter
};

/// Sum of −log p and number of the targets of a set of samples.
struct NllSum {
  double nats = 0;
  int64_t targets = 0;
};

/// Over all samples, in batches of about `tokens` tokens; no gradient.
NllSum held_out_nll(const peft::CausalLm& model, const data::TokenSet& samples, int64_t tokens = 2048, const peft::ForwardContext& context = {});

/// Next-token prediction on tokenised samples: what every language application trains.
class LanguageTask final : public TrainTask {
 public:
  /// `language` and its attachment outlive the task. Throws InvalidArgument for no data.
  LanguageTask(LanguageModel& language, data::TokenSet train, data::TokenSet held_out, LanguageTaskOptions options);

  int64_t total_steps() const { return plan_->total_steps(); }
  int64_t micro_steps_per_epoch() const;
  int64_t target_count(int64_t step, int64_t micro) override;
  MicroStep accumulate_gradients(int64_t step, int64_t micro, double loss_scale) override;
  Metrics evaluate() override;
  std::vector<ParameterGroup> trainable_parameters() override;
  std::vector<FrozenTensor> frozen_tensors() override;
  std::vector<std::pair<std::string, at::Tensor>> start_tensors() override;
  void begin(int64_t total_steps) override { language_.attachment->begin_training(total_steps); }
  void before_step(int64_t step, double gradient_scale) override { language_.attachment->before_step(step, gradient_scale); }
  bool after_step(int64_t step) override { return language_.attachment->after_step(step); }
  bool parts_may_rest() const override { return language_.attachment->parts_may_rest(); }
  void save(const std::string& run_dir) override;

 private:
  const data::TokenBatch& batch_at(int64_t step, int64_t micro);

  LanguageModel& language_;
  data::TokenSet train_, held_out_;
  LanguageTaskOptions options_;
  std::vector<data::PackedRow> rows_;   // with packing
  std::unique_ptr<data::BatchPlan> plan_;
  int64_t cached_step_ = -1, cached_micro_ = -1;
  data::TokenBatch cached_;
};

}  // namespace graft::pipelines
