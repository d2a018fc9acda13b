#include "peft_core/methods/activation_adapters.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"

namespace graft::peft {
namespace {

const std::vector<std::string> kBlocks = {"attention", "mlp"};

bool contains(const std::vector<std::string>& values, const std::string& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

/// Blocks are named as published: "model.layers.0.self_attn", "…mlp", "…mlp.fc2".
std::string kind_of(const ActivationSlot& slot) { return slot.name().find("mlp") != std::string::npos ? "mlp" : "attention"; }

void expect_known(const BlockChoice& choice) {
  for (const auto& kind : choice.after)
    if (!contains(kBlocks, kind))
      throw InvalidArgument({.where = "method.after", .what = "there is no block '" + kind + "'", .hint = suggest(kind, kBlocks)});
}

}  // namespace

ActivationAdapters::ActivationAdapters(Places& places, const BlockChoice& choice, const Make& make) {
  expect_known(choice);
  for (auto* slot : places.activations) {
    if (!contains(choice.after, kind_of(*slot))) continue;
    if (slot->adapter() != nullptr)
      throw InvalidArgument({.where = slot->name(), .what = "already has an adapter after it", .hint = "detach it first"});
    slots_.push_back(slot);
    adapters_.push_back(make(*slot));
  }
  if (slots_.empty()) throw InvalidArgument({.where = "method.after", .what = "chooses no block of this model", .expected = join(kBlocks)});
  for (size_t i = 0; i < slots_.size(); ++i) slots_[i]->attach(adapters_[i]);
}

std::vector<TrainableGroup> ActivationAdapters::trainable() const {
  std::vector<TrainableGroup> groups;
  for (size_t i = 0; i < slots_.size(); ++i)
    for (const auto& [name, tensor] : adapters_[i]->parameters()) {
      const auto kind = name.substr(0, name.find('.'));
      auto group = std::find_if(groups.begin(), groups.end(), [&](const TrainableGroup& other) { return other.name == kind; });
      if (group == groups.end()) group = groups.insert(groups.end(), {.name = kind, .parameters = {}, .weight_decay = decays(kind)});
      group->parameters.emplace_back(slots_[i]->name() + "." + name, tensor);
    }
  return groups;
}

AdapterState ActivationAdapters::state() const {
  AdapterState state;
  for (size_t i = 0; i < slots_.size(); ++i) {
    for (const auto& [name, tensor] : adapters_[i]->parameters()) state[slots_[i]->name() + "." + name] = tensor;
    for (const auto& [name, tensor] : adapters_[i]->fixed()) state[slots_[i]->name() + "." + name] = tensor;
  }
  return state;
}

void ActivationAdapters::detach() {
  for (auto* slot : slots_) slot->detach();
}

void ActivationAdapters::merge(at::ScalarType) {
  throw InvalidArgument({.where = "merge", .what = "what stands after a block is no change of its weights, so it cannot be folded into them",
                         .hint = "use the adapter beside its base with --adapter"});
}

}  // namespace graft::peft
