#include "peft_core/methods/low_rank/adalora.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "peft_core/base/config.h"
#include "peft_core/methods/low_rank/adalora_adapter.h"
#include "peft_core/methods/low_rank/adalora_schedule.h"
#include "peft_core/methods/published_form.h"

namespace graft::peft {
namespace {

struct AdaloraConfig {
  std::string name = "adalora";
  int64_t init_r = 12, target_r = 8;
  double alpha = 8.0;
  double dropout = 0.0;
  LayerChoice choice;
  int64_t tinit = 0, tfinal = 0, deltaT = 1;
  double beta1 = 0.85, beta2 = 0.85;
  double orth_reg_weight = 0.5;
  int64_t total_step = 0;
  std::map<std::string, int64_t> rank_pattern;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("init_r", init_r, "rank of every layer at the start");
    v("target_r", target_r, "mean rank of the layers at the end");
    v("alpha", alpha, "the update is scaled by alpha / init_r");
    v("dropout", dropout, "probability of dropping an input of the update while training, in [0, 1)");
    choice.visit(v);
    v("tinit", tinit, "steps before the first rank is taken away");
    v("tfinal", tfinal, "steps at the end that train the ranks that are left");
    v("deltaT", deltaT, "steps between two cuts");
    v("beta1", beta1, "smoothing of the scores, in (0, 1)");
    v("beta2", beta2, "smoothing of their uncertainty, in (0, 1)");
    v("orth_reg_weight", orth_reg_weight, "weight of the term that keeps A and B orthogonal");
    v("total_step", total_step, "steps of the schedule; 0: those of the run");
    v("rank_pattern", rank_pattern, "ranks of an adapter whose ranks are settled: full name of a layer -> rank; they stay");
  }
};

void check(const AdaloraConfig& config) {
  expect_range("method.init_r", static_cast<double>(config.init_r), 1, 65536);
  expect_range("method.target_r", static_cast<double>(config.target_r), 1, static_cast<double>(config.init_r));
  expect_range("method.alpha", config.alpha, 1e-30, 1e30);
  expect_range("method.orth_reg_weight", config.orth_reg_weight, 0, 1e30);
  expect_range("method.deltaT", static_cast<double>(config.deltaT), 1, 0x1p53);
  for (const auto& [key, value] : {std::pair{"method.tinit", config.tinit}, {"method.tfinal", config.tfinal}, {"method.total_step", config.total_step}})
    expect_range(key, static_cast<double>(value), 0, 0x1p53);
  for (const auto& [key, value] : {std::pair{"method.beta1", config.beta1}, {"method.beta2", config.beta2}})
    if (!(value > 0 && value < 1)) throw InvalidArgument({.where = key, .what = "is out of range", .expected = "between 0 and 1", .got = std::to_string(value)});
  if (!(config.dropout >= 0 && config.dropout < 1))
    throw InvalidArgument({.where = "method.dropout", .what = "is out of range", .expected = "0 <= dropout < 1", .got = std::to_string(config.dropout)});
  if (config.total_step > 0 && config.tinit >= config.total_step - config.tfinal)
    throw InvalidArgument({.where = "method.tinit", .what = "leaves no steps to take ranks away", .expected = "tinit + tfinal below total_step = " + std::to_string(config.total_step)});
}

/// What a layer begins with. Throws for a settled rank of a layer that is not adapted.
int64_t rank_of(const AdaloraConfig& config, const std::string& layer) {
  const auto found = config.rank_pattern.find(layer);
  if (found == config.rank_pattern.end()) return config.init_r;
  expect_range("method.rank_pattern." + layer, static_cast<double>(found->second), 0, static_cast<double>(config.init_r));
  return found->second;
}

void expect_known_layers(const Places& places, const AdaloraConfig& config) {
  std::set<std::string> names;
  for (const auto* slot : chosen_slots(places, config.choice)) names.insert(slot->name());
  for (const auto& [layer, rank] : config.rank_pattern)
    if (!names.contains(layer))
      throw InvalidArgument({.where = "method.rank_pattern", .what = "'" + layer + "' is no adapted layer", .expected = "the full name of one"});
}

class AdaloraAttachment final : public LayerAdapters {
 public:
  static std::unique_ptr<Attachment> make(Places& places, const AdaloraConfig& config, uint64_t seed) {
    expect_known_layers(places, config);
    auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
    const double scale = config.alpha / (static_cast<double>(config.init_r) + 1e-5);  // so PEFT has it
    return std::unique_ptr<Attachment>(new AdaloraAttachment(places, config, [&](const LinearSlot& slot) {
      return std::make_shared<AdaloraAdapter>(*slot.base(), rank_of(config, slot.name()), scale, config.dropout, random);
    }));
  }

  /// Mean over all factors, so that the weight means the same for any number of layers.
  at::Tensor auxiliary_loss() const override {
    if (config_.orth_reg_weight == 0) return {};
    at::Tensor sum;
    int64_t factors = 0;
    for (const auto& layer : layers_)
      if (layer->rank() > 0) {
        const auto deviation = layer->deviation_from_orthogonal();
        sum = sum.defined() ? sum + deviation : deviation;
        factors += 2;
      }
    return sum.defined() ? sum * (config_.orth_reg_weight / static_cast<double>(factors)) : sum;
  }

  /// A layer that lost all its triplets rests.
  bool parts_may_rest() const override { return true; }

  void begin_training(int64_t total_steps) override;
  void before_step(int64_t step, double gradient_scale) override;
  bool after_step(int64_t step) override;
  NamedTensors training_state() const override;
  AdapterState saved_state() const override;
  nlohmann::json published_config() const override;

 private:
  AdaloraAttachment(Places& places, const AdaloraConfig& config, const Make& make) : LayerAdapters(places, config.choice, make), config_(config) {
    for (const auto& adapter : adapters()) layers_.push_back(static_cast<AdaloraAdapter*>(adapter.get()));
  }

  bool allocated() const {
    return std::any_of(layers_.begin(), layers_.end(), [](const AdaloraAdapter* layer) { return layer->allocated(); });
  }
  std::vector<at::Tensor> masks_within(int64_t budget) const;

  AdaloraConfig config_;
  std::vector<AdaloraAdapter*> layers_;
  AdaloraSchedule schedule_;
};

void AdaloraAttachment::begin_training(int64_t total_steps) {
  if (!config_.rank_pattern.empty()) return;  // settled when it was saved
  if (config_.total_step == 0) config_.total_step = total_steps;
  check(config_);
  int64_t first = 0;
  for (auto* layer : layers_) layer->begin_scoring(), first += layer->rank();
  schedule_ = {.first = first, .last = config_.target_r * static_cast<int64_t>(layers_.size()), .tinit = config_.tinit,
               .tfinal = config_.tfinal, .interval = config_.deltaT, .total = config_.total_step};
}

void AdaloraAttachment::before_step(int64_t step, double gradient_scale) {
  if (!schedule_.scores_at(step + 1)) return;
  for (auto* layer : layers_) layer->keep_gradients(gradient_scale);
}

/// Parameters keep their memory: a triplet that is taken away has the value 0, and may come back until the allocation is settled. Then the
/// layers compute with what is left.
bool AdaloraAttachment::after_step(int64_t step) {
  const auto now = step + 1;
  if (schedule_.total == 0) return false;
  if (schedule_.scores_at(now))
    for (auto* layer : layers_) layer->update_scores(config_.beta1, config_.beta2);
  if (schedule_.cuts_at(now) || now == schedule_.settled()) {
    const auto masks = masks_within(schedule_.budget_at(now));
    for (size_t i = 0; i < layers_.size(); ++i)
      now == schedule_.settled() ? layers_[i]->allocate(masks[i]) : layers_[i]->zero_values(masks[i]);
    if (now == schedule_.settled())
      for (auto* layer : layers_) layer->forget_scores();
  } else if (now > schedule_.settled()) {
    for (auto* layer : layers_) layer->apply_allocation();
  }
  return false;
}

/// Masks that leave the `budget` triplets with the largest scores in the whole model; those that tie with the best one left out go with it.
std::vector<at::Tensor> AdaloraAttachment::masks_within(int64_t budget) const {
  std::vector<at::Tensor> scores, masks;
  for (const auto* layer : layers_) scores.push_back(layer->triplet_scores());
  const auto cut = schedule_.first - budget;
  const auto threshold = cut > 0 ? std::get<0>(at::kthvalue(at::cat(scores), cut)) : at::full({}, -1.0, at::kFloat);
  for (const auto& score : scores) masks.push_back(score.gt(threshold).to(at::kFloat));
  return masks;
}

NamedTensors AdaloraAttachment::training_state() const {
  NamedTensors all;
  for (size_t i = 0; i < layers_.size(); ++i)
    for (const auto& [name, tensor] : layers_[i]->scoring_state()) all.emplace_back(slots()[i]->name() + ".adalora_" + name, tensor);
  return all;
}

AdapterState AdaloraAttachment::saved_state() const {
  if (!allocated()) return state();
  AdapterState saved;
  for (size_t i = 0; i < layers_.size(); ++i)
    for (const auto& [name, tensor] : layers_[i]->left()) saved[slots()[i]->name() + "." + name] = tensor;
  return saved;
}

nlohmann::json AdaloraAttachment::published_config() const {
  nlohmann::json pattern;  // which of the init_r triplets of a layer are left; null before the ranks are settled
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (!allocated() && config_.rank_pattern.empty()) break;
    std::vector<bool> left(static_cast<size_t>(config_.init_r), false);
    for (int64_t j = 0; j < layers_[i]->rank(); ++j)
      left[static_cast<size_t>(j)] = !layers_[i]->mask().defined() || layers_[i]->mask()[j].item<float>() != 0;
    pattern[slots()[i]->name() + ".lora_E"] = left;
  }
  return {{"peft_type", "ADALORA"},
          {"init_r", config_.init_r},
          {"target_r", config_.target_r},
          {"lora_alpha", config_.alpha},
          {"lora_dropout", config_.dropout},
          {"target_modules", published_targets()},
          {"tinit", config_.tinit},
          {"tfinal", config_.tfinal},
          {"deltaT", config_.deltaT},
          {"beta1", config_.beta1},
          {"beta2", config_.beta2},
          {"orth_reg_weight", config_.orth_reg_weight},
          // PEFT wants a schedule even of an adapter that was never trained.
          {"total_step", config_.total_step > 0 ? config_.total_step : config_.tinit + config_.tfinal + 1},
          {"rank_pattern", pattern},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"init_lora_weights", true},
          {"modules_to_save", nullptr}};
}

/// "model.layers.0.self_attn.q_proj.lora_E": [true, false, ..] -> full name: rank.
nlohmann::json settled_ranks(const nlohmann::json& published) {
  nlohmann::json ranks = nlohmann::json::object();
  const auto pattern = published.find("rank_pattern");
  if (pattern == published.end() || !pattern->is_object()) return ranks;
  for (const auto& [key, left] : pattern->items()) {
    const auto end = key.rfind(".lora_E");
    if (end == std::string::npos || !left.is_array())
      throw InvalidArgument({.where = "adapter_config.json", .what = "rank_pattern has an unknown form", .expected = "LAYER.lora_E: [true, false, ..]", .got = key});
    ranks[key.substr(0, end)] = std::count(left.begin(), left.end(), true);
  }
  return ranks;
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "ADALORA") return std::nullopt;
  refuse_set(published, {"use_dora", "use_rslora", "use_qalora", "use_bdlora", "lora_bias", "layer_replication", "alpha_pattern", "target_parameters",
                         "trainable_token_indices", "alora_invocation_tokens", "arrow_config", "kasa_config", "velora_config", "monteclora_config"});
  nlohmann::json method = {{"name", "adalora"},
                           {"init_r", published_value(published, "init_r", 12)},
                           {"target_r", published_value(published, "target_r", 8)},
                           {"alpha", published_value(published, "lora_alpha", 8.0)},
                           {"dropout", published_value(published, "lora_dropout", 0.0)},
                           {"tinit", published_value(published, "tinit", int64_t{0})},
                           {"tfinal", published_value(published, "tfinal", int64_t{0})},
                           {"deltaT", published_value(published, "deltaT", int64_t{1})},
                           {"beta1", published_value(published, "beta1", 0.85)},
                           {"beta2", published_value(published, "beta2", 0.85)},
                           {"orth_reg_weight", published_value(published, "orth_reg_weight", 0.5)},
                           {"total_step", published_value(published, "total_step", int64_t{0})},
                           {"rank_pattern", settled_ranks(published)}};
  read_published_targets(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec adalora_method() {
  return {.name = "adalora",
          .paper = "arXiv:2303.10512",
          .use_when = "the number of parameters is limited and nobody knows which layers need them",
          .parameters = "init_r (in + out + 1) per layer while training, target_r (in + out + 1) on average at the end",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext& context) {
            const auto options = read_config<AdaloraConfig>(config);
            check(options);
            return AdaloraAttachment::make(places, options, context.seed);
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<AdaloraConfig>(config), "method"); },
          .published = {.peft_type = "ADALORA",
                        .keys = {"init_r", "target_r", "r", "lora_alpha", "lora_dropout", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight",
                                 "total_step", "rank_pattern", "bias", "fan_in_fan_out", "init_lora_weights", "use_dora", "use_rslora", "use_qalora",
                                 "use_bdlora", "lora_bias", "layer_replication", "alpha_pattern", "target_parameters", "trainable_token_indices",
                                 "alora_invocation_tokens", "arrow_config", "kasa_config", "velora_config", "monteclora_config", "loftq_config",
                                 "eva_config", "corda_config", "lora_ga_config", "megatron_config", "megatron_core", "qalora_group_size",
                                 "ensure_weight_tying"},
                        .tensor_marks = {".lora_"}}};
}

}  // namespace graft::peft
