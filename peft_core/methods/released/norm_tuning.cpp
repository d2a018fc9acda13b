#include "peft_core/methods/released/norm_tuning.h"

#include <nlohmann/json.hpp>

#include "peft_core/base/config.h"
#include "peft_core/methods/released/released_parameters.h"

namespace graft::peft {
namespace {

constexpr std::string_view kParameter = ".weight";
constexpr std::string_view kPublished = ".ln_tuning_layers.weight";

class NormTuningAttachment final : public ReleasedParameters {
 public:
  NormTuningAttachment(Places& places, const NormTuningConfig& config)
      : ReleasedParameters("norms", matching_parameters(places, {ParameterSlot::Kind::kNorm, ParameterSlot::Kind::kNormBias}, config.targets,
                                                        "no normalisation layer has such a name")) {}

  AdapterState state() const override {
    AdapterState published;
    for (const auto& [name, tensor] : ReleasedParameters::state())
      published[name.substr(0, name.size() - kParameter.size()) + std::string(kPublished)] = tensor;
    return published;
  }

  nlohmann::json published_config() const override {
    std::vector<std::string> modules;
    for (const auto& slot : released()) modules.push_back(slot.name.substr(0, slot.name.size() - kParameter.size()));
    return {{"peft_type", "LN_TUNING"}, {"target_modules", modules}, {"modules_to_save", nullptr}};
  }
};

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "LN_TUNING") return std::nullopt;
  const nlohmann::json method = {{"name", "norm_tuning"}, {"targets", published.at("target_modules")}};
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec norm_tuning_method() {
  return {.name = "norm_tuning",
          .paper = "arXiv:2312.11420",
          .use_when = "the smallest change that still moves every layer",
          .parameters = "C per normalisation layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext&) -> std::unique_ptr<Attachment> {
            return std::make_unique<NormTuningAttachment>(places, read_config<NormTuningConfig>(config));
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<NormTuningConfig>(config), "method"); },
          .published = {.peft_type = "LN_TUNING", .keys = {}, .tensor_marks = {".ln_tuning_layers."}}};
}

}  // namespace graft::peft
