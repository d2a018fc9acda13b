#include "peft_core/methods/lora.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/base/log.h"
#include "peft_core/methods/low_rank_op.h"

namespace graft::peft {
namespace {

class LoraAdapter final : public Adapter {
 public:
  LoraAdapter(const FrozenLinear& base, int64_t rank, double scale, double dropout, at::Generator random)
      : scale_(scale), dropout_(dropout) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(base.in_features()));
    a_ = at::empty({rank, base.in_features()}, at::kFloat).uniform_(-bound, bound, std::move(random)).requires_grad_();
    b_ = at::zeros({base.out_features(), rank}, at::kFloat).requires_grad_();
  }

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    const double dropout = call.context.training ? dropout_ : 0.0;
    return low_rank_linear(x, a_, b_, scale_, call.base, call.bias, dropout, call.context.dropout_seed ^ call.slot_seed);
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override {
    return base.weight().addmm_(b_.detach(), a_.detach(), 1, scale_);
  }

  NamedTensors parameters() const override { return {{"lora_A.weight", a_}, {"lora_B.weight", b_}}; }

 private:
  double scale_, dropout_;
  at::Tensor a_, b_;  // (r, in), (out, r)
};

void check(const LoraConfig& config) {
  expect_range("method.rank", static_cast<double>(config.rank), 1, 65536);
  if (!(config.dropout >= 0 && config.dropout < 1))
    throw InvalidArgument({.where = "method.dropout", .what = "is out of range", .expected = "0 <= dropout < 1",
                           .got = std::to_string(config.dropout)});
}

/// The value of the first pattern that fits the layer's name, as PEFT does, else `otherwise`.
template <class T>
T by_pattern(const std::map<std::string, T>& patterns, const std::string& name, T otherwise, std::set<std::string>& used) {
  for (const auto& [pattern, value] : patterns)
    if (pattern_matches_end(pattern, name)) {
      used.insert(pattern);
      return value;
    }
  return otherwise;
}

template <class T>
void expect_all_used(const std::map<std::string, T>& patterns, const std::set<std::string>& used, const std::string& key) {
  for (const auto& [pattern, value] : patterns)
    if (!used.contains(pattern))
      throw InvalidArgument({.where = key, .what = "'" + pattern + "' matches no adapted layer",
                             .hint = "give the end of a layer's name, such as layers.0.self_attn.q_proj or q_proj"});
}

/// The N of ".layers.N." in a slot's name; -1 outside the layers.
int64_t layer_number(const std::string& name) {
  constexpr std::string_view mark = ".layers.";
  const auto at = name.find(mark);
  return at == std::string::npos ? -1 : std::strtoll(name.c_str() + at + mark.size(), nullptr, 10);
}

std::vector<LinearSlot*> chosen_slots(const Places& places, const LoraConfig& config) {
  auto slots = matching_linears(places, config.targets, "method.targets");
  if (!config.exclude.empty()) {
    const auto excluded = matching_linears(places, config.exclude, "method.exclude");
    std::erase_if(slots, [&](LinearSlot* slot) { return std::find(excluded.begin(), excluded.end(), slot) != excluded.end(); });
  }
  if (!config.layers.empty())
    std::erase_if(slots, [&](const LinearSlot* slot) {
      return std::find(config.layers.begin(), config.layers.end(), layer_number(slot->name())) == config.layers.end();
    });
  if (slots.empty())
    throw InvalidArgument({.where = "method.targets", .what = "choose no layer that method.exclude and method.layers leave"});
  return slots;
}

class LoraAttachment final : public Attachment {
 public:
  LoraAttachment(Places& places, LoraConfig config, uint64_t seed) : config_(std::move(config)) {
    check(config_);
    std::set<std::string> used_ranks, used_alphas;
    auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
    for (auto* slot : chosen_slots(places, config_)) {
      const auto rank = by_pattern(config_.rank_pattern, slot->name(), config_.rank, used_ranks);
      by_pattern(config_.alpha_pattern, slot->name(), config_.alpha, used_alphas);
      expect_rank(rank, *slot);
      slot->expect_free();
      slots_.push_back(slot);
      adapters_.push_back(std::make_shared<LoraAdapter>(*slot->base(), rank, lora_scale(config_, slot->name(), rank), config_.dropout,
                                                        random));
    }
    expect_all_used(config_.rank_pattern, used_ranks, "method.rank_pattern");
    expect_all_used(config_.alpha_pattern, used_alphas, "method.alpha_pattern");
    // Only now: a refusal leaves the model as it was.
    for (size_t i = 0; i < slots_.size(); ++i) slots_[i]->attach(adapters_[i]);
  }

  std::vector<TrainableGroup> trainable() const override {
    TrainableGroup a{"lora_A", {}}, b{"lora_B", {}};
    for (const auto& [name, tensor] : state()) (name.ends_with("lora_A.weight") ? a : b).parameters.emplace_back(name, tensor);
    return {std::move(a), std::move(b)};
  }

  AdapterState state() const override {
    AdapterState state;
    for (size_t i = 0; i < slots_.size(); ++i)
      for (const auto& [name, tensor] : adapters_[i]->parameters()) state[slots_[i]->name() + "." + name] = tensor;
    return state;
  }

  nlohmann::json published_config() const override {
    return {{"peft_type", "LORA"},
            {"r", config_.rank},
            {"lora_alpha", config_.alpha},
            {"lora_dropout", config_.dropout},
            {"target_modules", published_targets()},
            {"use_rslora", config_.use_rslora},
            {"rank_pattern", config_.rank_pattern},
            {"alpha_pattern", config_.alpha_pattern},
            {"bias", "none"},
            {"fan_in_fan_out", false},
            {"init_lora_weights", true},
            {"modules_to_save", nullptr},
            {"use_dora", false}};
  }

  void detach() override {
    for (auto* slot : slots_) slot->detach();
  }

  void merge(at::ScalarType dtype) override {
    for (auto* slot : slots_) slot->merge(dtype);
  }

 private:
  static void expect_rank(int64_t rank, const LinearSlot& slot) {
    const auto limit = std::min(slot.base()->in_features(), slot.base()->out_features());
    if (rank >= 1 && rank <= limit) return;
    throw InvalidArgument({.where = "method.rank", .what = "does not fit layer " + slot.name(),
                           .expected = "1.." + std::to_string(limit) + " = min(in, out)", .got = std::to_string(rank)});
  }

  /// The endings of the adapted layers' names: what PEFT's suffix rule needs, free of our own pattern forms. Where an ending would
  /// take in layers that are not adapted, the full names.
  nlohmann::json published_targets() const {
    std::set<std::string> endings;
    const bool all_of_them = config_.exclude.empty() && config_.layers.empty();
    const bool by_ending = all_of_them && !std::any_of(config_.targets.begin(), config_.targets.end(), [](const std::string& target) {
      return target != "all-linear" && target.find_first_of("*+?()[]{}|\\^$.") != std::string::npos;
    });
    for (const auto* slot : slots_)
      endings.insert(by_ending ? slot->name().substr(slot->name().rfind('.') + 1) : slot->name());
    return endings;
  }

  LoraConfig config_;
  std::vector<LinearSlot*> slots_;
  std::vector<std::shared_ptr<const LoraAdapter>> adapters_;
};

void refuse_variant(const nlohmann::json& published, const std::string& key) {
  const auto found = published.find(key);
  if (found == published.end() || found->is_null() || (found->is_boolean() && !found->get<bool>()) || found->empty()) return;
  throw InvalidArgument({.where = "adapter_config.json", .what = "uses " + key + ", a LoRA variant that is not supported here",
                         .expected = "plain LoRA or rsLoRA"});
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "LORA" || published.value("target_modules", nlohmann::json()) == "dummy-target-modules")
    return std::nullopt;
  for (const auto* key : {"use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "layer_replication",
                          "alora_invocation_tokens", "target_parameters", "trainable_token_indices", "kasa_config",
                          "velora_config", "monteclora_config", "arrow_config"})
    refuse_variant(published, key);
  nlohmann::json method = {{"name", "lora"},
                           {"rank", published.value("r", 8)},
                           {"alpha", published.value("lora_alpha", 8.0)},
                           {"dropout", published.value("lora_dropout", 0.0)},
                           {"targets", published.at("target_modules")},
                           {"use_rslora", published.value("use_rslora", false)}};
  if (const auto found = published.find("exclude_modules"); found != published.end() && !found->empty()) method["exclude"] = *found;
  if (const auto found = published.find("layers_to_transform"); found != published.end() && !found->is_null())
    method["layers"] = found->is_array() ? *found : nlohmann::json::array({*found});
  for (const auto* key : {"rank_pattern", "alpha_pattern"})
    if (const auto found = published.find(key); found != published.end() && found->is_object()) method[key] = *found;
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

double lora_scale(const LoraConfig& config, const std::string& layer, int64_t rank) {
  std::set<std::string> used;
  const auto alpha = by_pattern(config.alpha_pattern, layer, config.alpha, used), r = static_cast<double>(rank);
  return alpha / (config.use_rslora ? std::sqrt(r) : r);
}

MethodSpec lora_method() {
  return {.name = "lora",
          .paper = "arXiv:2106.09685",
          .use_when = "the default: strong, small, merges into the weights without a trace",
          .parameters = "r (in + out) per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, uint64_t seed) -> std::unique_ptr<Attachment> {
            return std::make_unique<LoraAttachment>(places, read_config<LoraConfig>(config), seed);
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<LoraConfig>(config), "method"); }};
}

}  // namespace graft::peft
