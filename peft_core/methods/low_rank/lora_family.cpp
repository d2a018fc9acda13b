#include "peft_core/methods/low_rank/lora_family.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/layer_adapters.h"
#include "peft_core/methods/published_form.h"
#include "peft_core/methods/start_values.h"

namespace graft::peft {
namespace {

void check(const LoraConfig& config) {
  expect_range("method.rank", static_cast<double>(config.rank), 1, 65536);
  expect_dropout(config.dropout);
}

class LoraAttachment final : public LayerAdapters {
 public:
  LoraAttachment(Places& places, const LoraConfig& config, const Make& make, const LoraVariant& variant)
      : LayerAdapters(places, config.choice, make), config_(config), describe_(variant.describe), b_factor_(variant.b_learning_rate_factor) {}

  std::vector<TrainableGroup> trainable() const override {
    auto groups = LayerAdapters::trainable();
    for (auto& group : groups)
      if (group.name == "lora_B") group.learning_rate_factor = b_factor_;
    return groups;
  }

  nlohmann::json published_config() const override {
    nlohmann::json published = {{"peft_type", "LORA"},
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
    if (describe_) describe_(published);
    return published;
  }

 private:
  LoraConfig config_;
  std::function<void(nlohmann::json&)> describe_;
  double b_factor_;
};

void refuse_variant(const nlohmann::json& published, const std::string& key) {
  if (!is_set(published, key)) return;
  throw InvalidArgument({.where = "adapter_config.json", .what = "uses " + key + ", a LoRA variant that is not supported here",
                         .expected = "plain LoRA, rsLoRA or DoRA"});
}

/// Starts that change nothing about what a saved pair means, so that it is read as plain LoRA. PEFT, too, adds a raw "lora_ga" pair to the base.
bool is_plain_start(const std::string& start) { return start == "gaussian" || start == "mica" || start == "lora_ga"; }

/// The method that made a file of LoRA's, by our own key or PEFT's.
std::string maker_of(const nlohmann::json& published) {
  if (const auto own = published.find(kOwnSection); own != published.end()) return own->value("name", "");
  const auto init = published.find("init_lora_weights");
  const auto start = init != published.end() && init->is_string() ? init->get<std::string>() : "gaussian";
  const bool dora = published.value("use_dora", false);
  if (is_plain_start(start)) return dora ? "dora" : "lora";
  const bool moves_base = start.starts_with("pissa") || start == "olora" || start == "OLoRA" || start == "loftq";
  const bool random = start == "eva" || start == "orthogonal";
  if (random && dora) return "dora";
  if ((!moves_base && !random) || dora)
    throw InvalidArgument({.where = "adapter_config.json", .what = "init_lora_weights '" + start + "' is not supported" + (dora ? " with use_dora" : ""),
                           .expected = "true, false, gaussian, pissa, pissa_niter_N, olora, eva, loftq or orthogonal",
                           .hint = "PEFT's save_pretrained(path_initial_model_for_weight_conversion=...) makes a plain LoRA of it"});
  return start.starts_with("pissa") ? "pissa" : start == "OLoRA" ? "olora" : start;
}

/// What PEFT's keys say about the start of the methods that have options of their own.
void read_start_options(const nlohmann::json& published, nlohmann::json& method) {
  const auto name = method.at("name").get<std::string>();
  if (name == "pissa" || name == "olora") method["saved_as"] = "start";
  if (name == "pissa") {
    const auto start = published.at("init_lora_weights").get<std::string>();
    constexpr std::string_view mark = "pissa_niter_";
    if (start.starts_with(mark)) method["iterations"] = std::stoll(start.substr(mark.size()));
  }
  const auto copy = [&](const char* section, const char* key, const char* ours) {
    const auto found = published.find(section);
    if (found != published.end() && found->is_object() && found->contains(key)) method[ours] = found->at(key);
  };
  if (name == "eva")
    for (const auto* key : {"rho", "whiten", "adjust_scaling_factors"}) copy("eva_config", key, key);
  if (name == "loftq") copy("loftq_config", "loftq_iter", "iterations"), copy("loftq_config", "loftq_bits", "bits");
}

}  // namespace

std::vector<RankedSlot> ranked_slots(const Places& places, const LoraConfig& config) {
  check(config);
  Patterns ranks(config.rank_pattern, "method.rank_pattern");
  Patterns alphas(config.alpha_pattern, "method.alpha_pattern");
  std::vector<RankedSlot> ranked;
  for (auto* slot : chosen_slots(places, config.choice)) {
    const auto rank = ranks.value_for(slot->name(), config.rank);
    expect_rank(rank, *slot);
    alphas.value_for(slot->name(), config.alpha);
    ranked.push_back({slot, rank, lora_scale(config, slot->name(), rank)});
  }
  ranks.expect_all_used();
  alphas.expect_all_used();
  return ranked;
}

std::unique_ptr<Attachment> attach_lora_family(Places& places, const LoraConfig& config, uint64_t seed, const LoraVariant& variant) {
  ranked_slots(places, config);
  auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
  Patterns ranks(config.rank_pattern, "method.rank_pattern");
  const auto make_one = [&](const LinearSlot& slot) {
    const auto rank = ranks.value_for(slot.name(), config.rank);
    return variant.make({*slot.base(), rank, lora_scale(config, slot.name(), rank), config.dropout, random, slot.name()});
  };
  return std::make_unique<LoraAttachment>(places, config, make_one, variant);
}

std::optional<ConfigNode> lora_from_published(const nlohmann::json& published, const std::string& name) {
  if (published.value("peft_type", "") != "LORA" || published.value("target_modules", nlohmann::json()) == "dummy-target-modules")
    return std::nullopt;
  if (maker_of(published) != name) return std::nullopt;
  if (const auto own = published.find(kOwnSection); own != published.end()) return ConfigNode::parse(own->dump(), "adapter_config.json");
  for (const auto* key : {"use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "layer_replication",
                          "alora_invocation_tokens", "target_parameters", "trainable_token_indices", "kasa_config",
                          "velora_config", "monteclora_config", "arrow_config"})
    refuse_variant(published, key);
  nlohmann::json method = {{"name", name},
                           {"rank", published.value("r", 8)},
                           {"alpha", published.value("lora_alpha", 8.0)},
                           {"dropout", published.value("lora_dropout", 0.0)},
                           {"use_rslora", published.value("use_rslora", false)}};
  read_published_targets(published, method);
  for (const auto* key : {"rank_pattern", "alpha_pattern"})
    if (const auto found = published.find(key); found != published.end() && found->is_object()) method[key] = *found;
  read_start_options(published, method);
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

PublishedForm lora_published_form() {
  return {.peft_type = "LORA",
          .keys = {"r", "lora_alpha", "lora_dropout", "fan_in_fan_out", "bias", "use_rslora", "init_lora_weights", "rank_pattern", "alpha_pattern",
                   "megatron_config", "megatron_core", "trainable_token_indices", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
                   "use_dora", "velora_config", "alora_invocation_tokens", "use_qalora", "qalora_group_size", "monteclora_config",
                   "layer_replication", "lora_bias", "target_parameters", "use_bdlora", "arrow_config", "kasa_config", "ensure_weight_tying", kOwnSection},
          .tensor_marks = {".lora_"}};
}

LoraFactors::LoraFactors(const LoraLayer& layer) {
  a = uniform_leaf({layer.rank, layer.base.in_features()}, layer.random);
  b = zero_leaf({layer.base.out_features(), layer.rank});
}

LoraFactors::LoraFactors(const at::Tensor& start_a, const at::Tensor& start_b)
    : a(start_a.detach().to(at::kFloat).contiguous().requires_grad_()), b(start_b.detach().to(at::kFloat).contiguous().requires_grad_()) {}

double lora_scale(const LoraConfig& config, const std::string& layer, int64_t rank) {
  const auto alpha = Patterns(config.alpha_pattern, "method.alpha_pattern").value_for(layer, config.alpha), r = static_cast<double>(rank);
  return alpha / (config.use_rslora ? std::sqrt(r) : r);
}

}  // namespace graft::peft
