#include "peft_core/methods/released/bitfit.h"

#include <nlohmann/json.hpp>

#include "peft_core/base/config.h"
#include "peft_core/methods/released/released_parameters.h"

namespace graft::peft {
namespace {

constexpr const char* kBiasTargets = "bias_targets";

class BitfitAttachment final : public ReleasedParameters {
 public:
  BitfitAttachment(Places& places, const BitfitConfig& config)
      : ReleasedParameters("biases", matching_parameters(places, {ParameterSlot::Kind::kBias, ParameterSlot::Kind::kNormBias}, config.targets,
                                                         "this model has no bias there to train (only Qwen2 has some, on q_proj, "
                                                         "k_proj and v_proj); use lora or norm_tuning")),
        targets_(config.targets) {}

  // PEFT has no type for BitFit; a LoRA file without target modules whose biases are saved is loaded by it as it stands.
  nlohmann::json published_config() const override {
    nlohmann::json config = {
        {"peft_type", "LORA"}, {"target_modules", "dummy-target-modules"}, {"bias", "all"}, {"r", 8}, {"lora_alpha", 8}};
    if (!targets_.empty()) config[kBiasTargets] = targets_;  // PEFT has no key for a choice, and only warns about this one
    return config;
  }

 private:
  std::vector<std::string> targets_;
};

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "LORA" || published.value("target_modules", nlohmann::json()) != "dummy-target-modules" ||
      published.value("bias", "none") == "none")
    return std::nullopt;
  const nlohmann::json method = {{"name", "bitfit"}, {"targets", published.value(kBiasTargets, nlohmann::json::array())}};
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec bitfit_method() {
  return {.name = "bitfit",
          .paper = "arXiv:2106.10199",
          .use_when = "a very small change of a model that has biases",
          .parameters = "out per layer with a bias",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext&) -> std::unique_ptr<Attachment> {
            return std::make_unique<BitfitAttachment>(places, read_config<BitfitConfig>(config));
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<BitfitConfig>(config), "method"); },
          .published = {.peft_type = "LORA", .keys = {kBiasTargets}, .tensor_marks = {".bias"}}};
}

}  // namespace graft::peft
