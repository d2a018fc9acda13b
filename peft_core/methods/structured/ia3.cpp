#include "peft_core/methods/structured/ia3.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "peft_core/base/config.h"
#include "peft_core/methods/layer_adapters.h"

namespace graft::peft {
namespace {

struct Ia3Config {
  std::string name = "ia3";
  LayerChoice choice{{"k_proj", "v_proj", "down_proj"}, {}, {}};
  std::vector<std::string> feedforward = {"down_proj"};

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    choice.visit(v);
    v("feedforward", feedforward, "those of the targets whose input is scaled and not their output, written as targets are");
  }
};

/// (out, 1) for the output's vector and (1, in) for the input's, as PEFT saves them.
class Ia3Adapter final : public Adapter {
 public:
  Ia3Adapter(const FrozenLinear& base, bool feedforward)
      : feedforward_(feedforward),
        scale_((feedforward ? at::ones({1, base.in_features()}, at::kFloat) : at::ones({base.out_features(), 1}, at::kFloat)).requires_grad_()) {}

  at::Tensor forward(const at::Tensor& x, const SlotCall& call) const override {
    if (feedforward_) return frozen_linear((x * scale_).to(x.scalar_type()), call.base, call.bias);
    return (frozen_linear(x, call.base, call.bias) * scale_.view({-1})).to(x.scalar_type());
  }

  at::Tensor merged_weight(const FrozenLinear& base) const override { return base.weight().mul_(scale_.detach()); }
  at::Tensor merged_bias(const at::Tensor& bias) const override { return feedforward_ ? bias : bias * scale_.detach().view({-1}); }
  NamedTensors parameters() const override { return {{"ia3_l", scale_}}; }

 private:
  bool feedforward_;
  at::Tensor scale_;
};

std::vector<LinearSlot*> feedforward_slots(const Places& places, const Ia3Config& config) {
  if (config.feedforward.empty()) return {};
  return matching_linears(places, config.feedforward, "method.feedforward");
}

bool contains(const std::vector<LinearSlot*>& slots, const LinearSlot& slot) { return std::find(slots.begin(), slots.end(), &slot) != slots.end(); }

class Ia3Attachment final : public LayerAdapters {
 public:
  Ia3Attachment(Places& places, const Ia3Config& config) : Ia3Attachment(places, config, feedforward_slots(places, config)) {}

  /// Decay would pull the factors towards 0 and with them the layer's output.
  std::vector<TrainableGroup> trainable() const override {
    auto groups = LayerAdapters::trainable();
    for (auto& group : groups) group.weight_decay = false;
    return groups;
  }

  /// PEFT wants every feed-forward entry among the targets, letter for letter.
  nlohmann::json published_config() const override {
    auto targets = published_targets();
    std::set<std::string> feedforward;
    for (const std::string target : targets) {
      const auto named = [&](const LinearSlot* slot) { return slot->name() == target || slot->name().ends_with("." + target); };
      int64_t scaled = 0, all = 0;
      for (const auto* slot : slots())
        if (named(slot)) ++all, scaled += contains(feedforward_, *slot);
      if (scaled > 0 && scaled < all) return with_targets(whole_names(false), whole_names(true));
      if (scaled > 0) feedforward.insert(target);
    }
    return with_targets(targets, feedforward);
  }

 private:
  Ia3Attachment(Places& places, const Ia3Config& config, const std::vector<LinearSlot*>& feedforward)
      : LayerAdapters(places, config.choice,
                      [&](const LinearSlot& slot) { return std::make_shared<Ia3Adapter>(*slot.base(), contains(feedforward, slot)); }),
        feedforward_(feedforward) {}

  std::set<std::string> whole_names(bool only_feedforward) const {
    std::set<std::string> names;
    for (const auto* slot : slots())
      if (!only_feedforward || contains(feedforward_, *slot)) names.insert(slot->name());
    return names;
  }

  static nlohmann::json with_targets(const nlohmann::json& targets, const std::set<std::string>& feedforward) {
    return {{"peft_type", "IA3"}, {"target_modules", targets}, {"feedforward_modules", feedforward}, {"fan_in_fan_out", false},
            {"init_ia3_weights", true}, {"modules_to_save", nullptr}};
  }

  std::vector<LinearSlot*> feedforward_;
};

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "IA3") return std::nullopt;
  nlohmann::json method = {{"name", "ia3"}};
  read_published_targets(published, method);
  if (const auto found = published.find("feedforward_modules"); found != published.end() && !found->is_null()) method["feedforward"] = *found;
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec ia3_method() {
  return {.name = "ia3",
          .paper = "arXiv:2205.05638",
          .use_when = "the fewest parameters of all: few examples, many tasks, each its own file of some hundred KB",
          .parameters = "out (in where feed-forward) per layer",
          .traits = {.identity_at_start = true, .mergeable = true, .exact_gradient = true},
          .attach = [](Places& places, const ConfigNode& config, const AttachContext&) -> std::unique_ptr<Attachment> {
            return std::make_unique<Ia3Attachment>(places, read_config<Ia3Config>(config));
          },
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<Ia3Config>(config), "method"); },
          .published = {.peft_type = "IA3", .keys = {"feedforward_modules", "fan_in_fan_out", "init_ia3_weights"}, .tensor_marks = {".ia3_"}}};
}

}  // namespace graft::peft
