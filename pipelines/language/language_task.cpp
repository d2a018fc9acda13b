#include "pipelines/language/language_task.h"

#include <set>

#include "kernels/base/error.h"
#include "peft_core/base/rng.h"

namespace graft::pipelines {
namespace {

at::Tensor as_tensor(const std::vector<data::TokenId>& ids) {
  return at::tensor(at::ArrayRef<data::TokenId>(ids), at::kInt).to(at::kLong);
}

/// Consecutive samples until the budget of tokens is full; always at least one.
std::vector<int64_t> next_indices(const data::TokenSet& samples, int64_t& next, int64_t tokens) {
  std::vector<int64_t> indices;
  for (int64_t used = 0; next < samples.size() && (indices.empty() || used + samples.length(next) <= tokens); ++next) {
    used += samples.length(next);
    indices.push_back(next);
  }
  return indices;
}

}  // namespace

NllSum held_out_nll(const peft::CausalLm& model, const data::TokenSet& samples, int64_t tokens, const peft::ForwardContext& context) {
  at::NoGradGuard no_gradient;
  NllSum sum;
  for (int64_t next = 0; next < samples.size();) {
    const auto batch = data::batch(samples, next_indices(samples, next, tokens));
    if (batch.target_count() == 0) continue;
    const auto hidden = model.hidden_states(peft::TokenStream::of(batch.ids, batch.lengths), context);
    sum.nats += model.target_nll(hidden, as_tensor(batch.targets), nullptr, context).sum(at::kDouble).item<double>();
    sum.targets += batch.target_count();
  }
  return sum;
}

LanguageTask::LanguageTask(LanguageModel& language, data::TokenSet train, data::TokenSet held_out, LanguageTaskOptions options)
    : language_(language), train_(std::move(train)), held_out_(std::move(held_out)), options_(std::move(options)) {
  if (train_.size() == 0) throw InvalidArgument({.where = "--data", .what = "holds nothing to learn"});
  if (options_.packing) rows_ = data::pack_rows(train_, options_.max_length);
  options_.plan.items = options_.packing ? static_cast<int64_t>(rows_.size()) : train_.size();
  plan_ = std::make_unique<data::BatchPlan>(options_.plan);
}

int64_t LanguageTask::micro_steps_per_epoch() const { return plan_->steps_per_epoch() * options_.plan.accumulation; }

const data::TokenBatch& LanguageTask::batch_at(int64_t step, int64_t micro) {
  if (step == cached_step_ && micro == cached_micro_) return cached_;
  const auto indices = plan_->indices(step, micro);
  cached_ = options_.packing ? data::batch_of_rows(train_, rows_, indices) : data::batch(train_, indices);
  cached_step_ = step, cached_micro_ = micro;
  return cached_;
}

int64_t LanguageTask::target_count(int64_t step, int64_t micro) { return batch_at(step, micro).target_count(); }

MicroStep LanguageTask::accumulate_gradients(int64_t step, int64_t micro, double loss_scale) {
  const auto& batch = batch_at(step, micro);
  MicroStep result{.target_count = batch.target_count(), .token_count = static_cast<int64_t>(batch.ids.size())};
  if (result.target_count == 0) return result;
  const auto draw = static_cast<uint64_t>(step * options_.plan.accumulation + micro);
  const peft::ForwardContext context{.training = true, .dropout_seed = stream_seed(options_.plan.seed, "dropout", draw)};
  const auto& model = *language_.model;
  const auto hidden = model.hidden_states(peft::TokenStream::of(batch.ids, batch.lengths), context, options_.checkpointing);
  const auto loss = model.loss_sum(hidden, as_tensor(batch.targets));
  result.loss_sum = loss.item<double>();
  auto scaled = loss * loss_scale;
  if (const auto extra = language_.attachment->auxiliary_loss(); extra.defined())
    scaled = scaled + extra / static_cast<double>(options_.plan.accumulation);  // once a step, however many micro steps it has
  scaled.backward();
  return result;
}

Metrics LanguageTask::evaluate() {
  if (held_out_.size() == 0) return {};
  const auto sum = held_out_nll(*language_.model, held_out_);
  const double loss = sum.nats / static_cast<double>(sum.targets);
  return {{"held_out_loss", loss}, {"held_out_perplexity", std::exp(loss)}};
}

std::vector<ParameterGroup> LanguageTask::trainable_parameters() {
  std::vector<ParameterGroup> groups;
  for (auto& group : language_.attachment->trainable()) {
    const double plus = group.name == "lora_B" ? options_.lora_plus_ratio : 1.0;
    if (plus != 1 && group.learning_rate_factor != 1)
      throw InvalidArgument({.where = "train.lora_plus_ratio", .what = "the method has a learning rate ratio of its own",
                             .hint = "leave train.lora_plus_ratio at 1, or use the method lora"});
    groups.push_back({.name = group.name, .parameters = std::move(group.parameters),
                      .learning_rate_factor = plus * group.learning_rate_factor, .weight_decay = group.weight_decay});
  }
  return groups;
}

std::vector<FrozenTensor> LanguageTask::frozen_tensors() {
  std::vector<FrozenTensor> frozen;
  for (const auto& [name, matrix] : language_.model->frozen_matrices())
    if (const auto stored = matrix->as_stored(); stored.defined())
      frozen.push_back({name + ".weight", stored, [matrix = matrix] { matrix->let_stored_go(); }});
  for (const auto& slot : language_.model->places().parameters)
    if (!slot.tensor->requires_grad()) frozen.push_back({slot.name, *slot.tensor});
  return frozen;
}

std::vector<std::pair<std::string, at::Tensor>> LanguageTask::start_tensors() {
  std::set<std::pair<const void*, int64_t>> trained;
  for (const auto& group : language_.attachment->trainable())
    for (const auto& [name, tensor] : group.parameters) trained.emplace(tensor.data_ptr(), tensor.numel());
  std::vector<std::pair<std::string, at::Tensor>> start;
  for (const auto& [name, tensor] : language_.attachment->state())
    if (!trained.contains({tensor.data_ptr(), tensor.numel()})) start.emplace_back(name, tensor);
  for (const auto& kept : language_.attachment->training_state()) start.push_back(kept);
  return start;
}

void LanguageTask::save(const std::string& run_dir) { peft::write_adapter(run_dir, *language_.attachment, options_.origin); }

}  // namespace graft::pipelines
