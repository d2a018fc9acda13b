#include "pipelines/cloud/adaptation_task.h"

#include <ATen/ATen.h>

#include <numeric>
#include <set>

#include "kernels/base/error.h"
#include "kernels/ops/sinkhorn_op.h"
#include "peft_core/base/rng.h"
#include "pipelines/cloud/losses.h"
#include "pipelines/cloud/prototypes.h"
#include "pipelines/cloud/view_choice.h"

namespace graft::pipelines {
namespace {

constexpr int64_t kSettling = 100;         // updates at the last scale: the gradient is then the value's own (kernels/sinkhorn)
constexpr double kOwnTemperature = 0.07;  // where CLIP's own training begins

data::BatchPlanOptions with_items(data::BatchPlanOptions plan, int64_t items) {
  plan.items = items;
  return plan;
}

/// Mean feature of a cloud's views, (B, M, J) -> (B, J).
at::Tensor cloud_features(const CloudScores& scores) { return scores.features.mean(1); }

}  // namespace

AdaptationTask::AdaptationTask(AdaptedClip& clip, peft::Attachment* attachment, CloudSet source, CloudSet target, CloudSet held_out,
                               AdaptationOptions options)
    : clip_(clip), attachment_(attachment), source_(std::move(source)), target_(std::move(target)), held_out_(std::move(held_out)),
      options_(std::move(options)) {
  if (source_.size() == 0) throw InvalidArgument({.where = "source", .what = "holds no clouds to learn from"});
  if (!target_.labels.empty()) throw InvalidArgument({.where = "target", .what = "has labels; adaptation must not know them"});
  order_ = options_.balance ? balanced(source_.labels) : std::vector<int64_t>(static_cast<size_t>(source_.size()));
  if (!options_.balance) std::iota(order_.begin(), order_.end(), 0);
  plan_ = std::make_unique<data::BatchPlan>(with_items(options_.plan, std::ssize(order_)));
  if (target_.size() > 0) {
    auto plan = with_items(options_.plan, target_.size());
    plan.seed = stream_seed(plan.seed, "target");
    target_plan_ = std::make_unique<data::BatchPlan>(plan);
  }
  prototypes_ = at::zeros({static_cast<int64_t>(clip_.classes().size()), clip_.model().config().joint}, at::kFloat);
  for (const auto& group : trainable_parameters())
    for (const auto& [name, tensor] : group.parameters) starts_.emplace_back(tensor, tensor.detach().clone());
  if (target_.size() > 0 && options_.loss.anchor > 0) anchors_ = at::softmax(predictions(target_).first, 1);
}

BatchOptions AdaptationTask::batch_options(uint64_t seed, bool augment) const {
  return {.side = clip_.model().config().vision.image_size, .projection = clip_.config().projection,
          .points = clip_.wants_points() ? clip_.config().points : 0, .augment = augment, .seed = seed};
}

CloudBatch AdaptationTask::source_batch(const std::vector<int64_t>& places, uint64_t seed) const {
  std::vector<int64_t> indices;
  for (const auto place : places) indices.push_back(order_[static_cast<size_t>(place)]);
  auto options = batch_options(seed, options_.augment);
  options.scanned = options_.scanned;
  return cloud_batch(source_, indices, options);
}

int64_t AdaptationTask::target_count(int64_t step, int64_t micro) { return static_cast<int64_t>(plan_->indices(step, micro).size()); }

AdaptationTask::Half AdaptationTask::look(const CloudBatch& batch, const at::Tensor& texts, const peft::ForwardContext& context) const {
  Half half{clip_.forward(batch.views, batch.points, texts, context), {}, {}, {}};
  half.kept = clip_.deciding_views(half.scores.logits);
  half.logits = mean_of_kept(half.scores.logits, half.kept);
  return half;
}

at::Tensor AdaptationTask::prototype_part(const Half& target) const {
  const bool ours = clip_.config().mode == CloudMode::kOurs;
  const double temperature = options_.loss.temperature > 0 ? options_.loss.temperature : ours ? kOwnTemperature : 1.0;
  auto features = cloud_features(target.scores);
  if (clip_.config().mode == CloudMode::kReleased) features = features.detach();
  return prototype_loss(features, prototypes_, temperature);
}

/// Weighted sum of the parts, a mean over the batch; notes each part's value.
at::Tensor AdaptationTask::loss_of(const Half& source, const at::Tensor& labels, const Half* target) {
  auto total = at::zeros({}, at::kFloat);
  const auto add = [&](const char* name, double weight, const at::Tensor& part) {
    parts_[name] = part.item<double>();
    total = total + weight * part;
  };
  const auto& loss = options_.loss;
  parts_.clear();
  if (loss.ce > 0) add("ce", loss.ce, at::cross_entropy_loss(source.logits, labels));
  const bool transport_features = clip_.config().mode == CloudMode::kPaper;
  for (const auto* half : {&source, target}) {
    if (half == nullptr) continue;
    const std::string side = half == &source ? "_source" : "_target";
    if (loss.confidence > 0) add(("confidence" + side).c_str(), loss.confidence, confidence_loss(half->scores.logits, half->kept));
    if (loss.orthogonality > 0 && half->scores.transform.defined())
      add(("orthogonality" + side).c_str(), loss.orthogonality, orthogonality_loss(half->scores.transform));
  }
  if (target == nullptr) return total;
  const auto compared = [&](const Half& half) {
    return transport_features ? cloud_features(half.scores) : log_mean_probability(half.scores.logits, half.kept).exp();
  };
  if (loss.transport > 0) add("transport", loss.transport, ops::sinkhorn_divergence(compared(*target), compared(source).detach(), {.blur = loss.blur, .settling = kSettling}));
  if (loss.prototype > 0) add("prototype", loss.prototype, prototype_part(*target));
  if (loss.anchor > 0) add("anchor", loss.anchor, anchor_loss(target->logits, target->anchor));
  if (loss.entropy > 0) add("entropy", loss.entropy, entropy_loss(target->logits));
  if (loss.diversity > 0) add("diversity", loss.diversity, diversity_loss(target->logits));
  return total;
}

MicroStep AdaptationTask::accumulate_gradients(int64_t step, int64_t micro, double loss_scale) {
  const auto indices = plan_->indices(step, micro);
  MicroStep result{.target_count = static_cast<int64_t>(indices.size())};
  if (indices.empty()) return result;
  const auto draw = static_cast<uint64_t>(step * options_.plan.accumulation + micro);
  const auto seed = [&](const char* stream) { return stream_seed(options_.plan.seed, stream, draw); };
  const peft::ForwardContext context{.training = true, .dropout_seed = seed("dropout")};
  const auto texts = clip_.texts(context);

  const auto batch = source_batch(indices, seed("source"));
  const auto source = look(batch, texts, context);
  std::optional<Half> target;
  if (target_plan_ != nullptr)
    if (const auto others = target_plan_->indices(step, micro); !others.empty()) {
      target = look(cloud_batch(target_, others, batch_options(seed("target"), options_.augment)), texts, context);
      if (anchors_.defined()) target->anchor = anchors_.index_select(0, at::tensor(others, at::kLong));
    }
  const auto loss = loss_of(source, batch.labels, target ? &*target : nullptr);

  const auto count = static_cast<double>(result.target_count);
  result.loss_sum = loss.item<double>() * count;
  result.token_count = result.target_count * view_count(clip_.config().projection);
  auto scaled = loss * (count * loss_scale);
  if (attachment_ != nullptr)
    if (const auto extra = attachment_->auxiliary_loss(); extra.defined())
      scaled = scaled + extra / static_cast<double>(options_.plan.accumulation);
  scaled.backward();
  return result;
}

std::pair<at::Tensor, at::Tensor> AdaptationTask::predictions(const CloudSet& set) const {
  const at::NoGradGuard no_gradient;
  const auto texts = clip_.texts({});
  std::vector<at::Tensor> logits, features;
  for (int64_t first = 0; first < set.size(); first += options_.evaluation_batch) {
    std::vector<int64_t> indices(static_cast<size_t>(std::min(options_.evaluation_batch, set.size() - first)));
    std::iota(indices.begin(), indices.end(), first);
    const auto half = look(cloud_batch(set, indices, batch_options(0, false)), texts, {});
    logits.push_back(half.logits);
    features.push_back(cloud_features(half.scores));
  }
  return {at::cat(logits), at::cat(features)};
}

double AdaptationTask::target_entropy() const { return entropy_of(predictions(target_).first).mean().item<double>(); }

Metrics AdaptationTask::evaluate() {
  Metrics metrics;
  const auto accuracy = [](const at::Tensor& logits, const at::Tensor& labels) {
    return (logits.argmax(1) == labels).to(at::kDouble).mean().item<double>();
  };
  if (held_out_.size() > 0) {
    const auto logits = predictions(held_out_).first;
    const auto labels = at::tensor(held_out_.labels, at::kLong);
    metrics["held_out_loss"] = at::cross_entropy_loss(logits, labels).item<double>();
    metrics["held_out_accuracy"] = accuracy(logits, labels);
  }
  metrics["source_accuracy"] = accuracy(predictions(source_).first, at::tensor(source_.labels, at::kLong));
  if (target_.size() > 0) metrics["target_entropy"] = target_entropy();
  return metrics;
}

std::vector<ParameterGroup> AdaptationTask::trainable_parameters() {
  std::vector<ParameterGroup> groups;
  if (attachment_ != nullptr)
    for (auto& group : attachment_->trainable())
      groups.push_back({.name = group.name, .parameters = std::move(group.parameters), .learning_rate_factor = group.learning_rate_factor,
                        .weight_decay = group.weight_decay});
  if (auto own = clip_.trainable(); !own.empty())
    groups.push_back({.name = "cloud_head", .parameters = std::move(own), .learning_rate_factor = 1.0, .weight_decay = false});
  return groups;
}

std::vector<FrozenTensor> AdaptationTask::frozen_tensors() {
  std::vector<FrozenTensor> frozen;
  const auto& places = clip_.model().places();
  for (const auto* slot : places.linears)
    if (const auto stored = slot->base()->as_stored(); stored.defined())
      frozen.push_back({slot->name() + ".weight", stored, [base = slot->base()] { base->let_stored_go(); }});
  for (const auto& slot : places.parameters)
    if (!slot.tensor->requires_grad()) frozen.push_back({slot.name, *slot.tensor});
  return frozen;
}

std::vector<std::pair<std::string, at::Tensor>> AdaptationTask::start_tensors() {
  std::set<const void*> trained;
  for (const auto& group : trainable_parameters())
    for (const auto& [name, tensor] : group.parameters) trained.insert(tensor.data_ptr());
  std::vector<std::pair<std::string, at::Tensor>> start;
  const auto add = [&](const std::string& prefix, const std::string& name, const at::Tensor& tensor) {
    if (!trained.contains(tensor.data_ptr())) start.emplace_back(prefix + name, tensor);
  };
  if (attachment_ != nullptr) {
    for (const auto& [name, tensor] : attachment_->state()) add("", name, tensor);
    for (const auto& kept : attachment_->training_state()) start.push_back(kept);
  }
  for (const auto& [name, tensor] : clip_.leaves()) add("cloud_head.", name, tensor);
  for (const auto& [name, tensor] : clip_.statistics()) add("cloud_head.", name, tensor);
  start.emplace_back("cloud_head.prototypes", prototypes_);
  return start;
}

void AdaptationTask::begin(int64_t total_steps) {
  if (attachment_ != nullptr) attachment_->begin_training(total_steps);
}

void AdaptationTask::before_step(int64_t step, double gradient_scale) {
  if (attachment_ != nullptr) attachment_->before_step(step, gradient_scale);
}

bool AdaptationTask::after_step(int64_t step) {
  const bool replaced = attachment_ != nullptr && attachment_->after_step(step);
  const int64_t every = options_.loss.prototype_every > 0 ? options_.loss.prototype_every : plan_->steps_per_epoch();
  if (target_.size() > 0 && options_.loss.prototype > 0 && (step + 1) % every == 0) renew_prototypes();
  return replaced;
}

void AdaptationTask::renew_prototypes() {
  const auto [logits, features] = predictions(source_);
  prototypes_.copy_(class_prototypes(features, logits, at::tensor(source_.labels, at::kLong)));
}

void AdaptationTask::restore_start() {
  const at::NoGradGuard no_gradient;
  for (auto& [leaf, start] : starts_) leaf.copy_(start);
}

void AdaptationTask::save(const std::string& run_dir) {
  if (attachment_ != nullptr) peft::write_adapter(run_dir, *attachment_, options_.origin);
  clip_.save(run_dir);
}

}  // namespace graft::pipelines
