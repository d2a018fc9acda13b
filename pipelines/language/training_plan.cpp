#include "pipelines/language/training_plan.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/ops/products.h"
#include "peft_core/base/log.h"
#include "pipelines/device.h"
#include "pipelines/progress_line.h"

namespace graft::pipelines {
namespace {

constexpr double kShareOfFree = 0.8;  // beyond it, the rest of the machine would suffer

/// Tokens of the largest micro step that can come.
int64_t tokens_of_micro_step(const data::TokenSet& samples, const LanguageTrainConfig& config) {
  // Bounded by the data first: the product of two settings may be beyond all numbers.
  if (config.packing)
    return std::min(std::min(config.batch_size, samples.size()) * std::min(config.max_length, samples.token_count()), samples.token_count());
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < samples.size(); ++i) lengths.push_back(samples.length(i));
  std::sort(lengths.rbegin(), lengths.rend());
  int64_t tokens = 0;
  for (size_t i = 0; i < lengths.size() && i < static_cast<size_t>(config.batch_size); ++i) tokens += lengths[i];
  return tokens;
}

std::string advice_for(const peft::MemoryDemand& demand, const LanguageTrainConfig& config, int64_t available) {
  if (demand.second_packing > 0) return "--set train.second_packing=off";
  if (!demand.checkpointing) return "--set train.checkpointing=on";
  auto smaller = demand;
  for (int64_t batch = config.batch_size / 2; batch >= 1; batch /= 2) {
    smaller.tokens = demand.tokens * batch / config.batch_size;
    if (static_cast<double>(peft::plan_memory(smaller).total()) < static_cast<double>(available))
      return "--set train.batch_size=" + std::to_string(batch) + " --set train.accumulation=" +
             std::to_string(config.accumulation * (config.batch_size / batch));
  }
  return "--set base.quantize=nf4, a smaller train.max_length, or a smaller model";
}

}  // namespace

bool second_packing_wanted(Switch setting, int64_t tokens) {
  return setting == Switch::kOn || (setting == Switch::kAuto && ops::second_packing_pays(tokens));
}

peft::MemoryDemand memory_demand(const LanguageModel& language, int64_t tokens) {
  const auto& model = *language.model;
  peft::MemoryDemand demand{.config = model.config(), .compute = model.storage().compute, .on_gpu = !model.device().is_cpu()};
  for (const auto& [name, matrix] : model.frozen_matrices()) {
    const bool head = matrix->out_features() == model.config().vocabulary;  // read a block of words at a time, never packed
    const auto stored = matrix->as_stored();
    if (demand.on_gpu) {  // a dense weight lies there in the dtype of the products
      demand.weight_bytes += stored.defined() ? stored.numel() * at::elementSize(demand.compute) : matrix->bytes();
    } else {
      demand.weight_bytes += head ? matrix->bytes() : matrix->bytes_in_training(demand.compute);
      if (!head) demand.second_packing += matrix->second_packing_bytes(demand.compute);
    }
    const bool expanded = !stored.defined() || (stored.scalar_type() != demand.compute && !demand.on_gpu);
    if (expanded) demand.largest_matrix = std::max(demand.largest_matrix, (head ? 4096 : matrix->out_features()) * matrix->in_features());
  }
  demand.trainable = language.attachment == nullptr ? 0 : trainable_parameter_count(*language.attachment);
  demand.tokens = tokens;
  return demand;
}

TrainingPlan plan_training(const LanguageModel& language, const data::TokenSet& samples, const LanguageTrainConfig& config) {
  auto demand = memory_demand(language, tokens_of_micro_step(samples, config));
  if (!second_packing_wanted(config.second_packing, demand.tokens)) demand.second_packing = 0;
  if (config.optimizer == OptimizerKind::kSgd) demand.moments = config.momentum > 0 ? 1 : 0;
  TrainingPlan plan;
  plan.available = available_memory(language.model->device());
  // What is loaded already is no longer counted as free; a GPU gets its weights with the first step.
  const auto budget = plan.available + (demand.on_gpu ? 0 : demand.weight_bytes);
  const auto exceeds = [&](double share) {
    return static_cast<double>(peft::plan_memory(demand).total()) > share * static_cast<double>(budget);
  };
  // The copy goes first: it saves a few percent of a step, activations that are kept save a third.
  if (config.second_packing == Switch::kAuto && exceeds(kShareOfFree)) demand.second_packing = 0;
  plan.second_packing = demand.second_packing > 0;
  demand.checkpointing = config.checkpointing == Switch::kOn || (config.checkpointing == Switch::kAuto && exceeds(kShareOfFree));
  plan.checkpointing = demand.checkpointing ? peft::Checkpointing::kEveryLayer : peft::Checkpointing::kOff;
  plan.memory = peft::plan_memory(demand);
  if (exceeds(1.0)) plan.advice = advice_for(demand, config, budget);

  const auto total = base_parameter_count(*language.model);
  plan.text = "trainable " + format_count(demand.trainable) + " of " + format_count(total + demand.trainable) + " parameters; " +
              format_count(samples.size()) + " samples, " + format_count(samples.token_count()) + " tokens; up to " +
              format_count(demand.tokens) + " tokens a micro step; products in " +
              (language.model->storage().compute == at::kFloat ? "fp32" : "bf16") + "; checkpointing " +
              (demand.checkpointing ? "on" : "off") + "\nmemory plan" + (demand.on_gpu ? " of the GPU" : "") + " (" + format_bytes(budget) + " free):\n" + peft::to_text(plan.memory);
  plan.text.pop_back();
  return plan;
}

void choose_packings(const LanguageModel& language, const TrainingPlan& plan) {
  for (const auto& [name, matrix] : language.model->frozen_matrices()) matrix->choose_second_packing(plan.second_packing);
}

void refuse_if_too_large(const TrainingPlan& plan) {
  if (plan.advice.empty()) return;
  throw Unavailable({.where = "memory", .what = "the run does not fit", .expected = "at most " + format_bytes(plan.available) + " free",
                     .got = format_bytes(plan.memory.total()) + " needed", .hint = "try " + plan.advice});
}

void log_fit(const data::FitReport& report) {
  if (report.truncated > 0 || report.dropped > 0)
    log_warning(std::to_string(report.truncated) + " samples cut at train.max_length, " + std::to_string(report.dropped) +
                " dropped because no answer was left; " + std::to_string(report.lost_tokens) + " tokens lost");
}

}  // namespace graft::pipelines
