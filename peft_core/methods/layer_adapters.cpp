#include "peft_core/methods/layer_adapters.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace graft::peft {

LayerAdapters::LayerAdapters(Places& places, LayerChoice choice, const Make& make) : choice_(std::move(choice)) {
  for (auto* slot : chosen_slots(places, choice_)) {
    slot->expect_free();
    slots_.push_back(slot);
    adapters_.push_back(make(*slot));
  }
  for (size_t i = 0; i < slots_.size(); ++i) slots_[i]->attach(adapters_[i]);
}

std::vector<TrainableGroup> LayerAdapters::trainable() const {
  std::vector<TrainableGroup> groups;
  for (size_t i = 0; i < slots_.size(); ++i)
    for (const auto& [name, tensor] : adapters_[i]->parameters()) {
      const auto kind = name.substr(0, name.find('.'));
      auto group = std::find_if(groups.begin(), groups.end(), [&](const TrainableGroup& other) { return other.name == kind; });
      if (group == groups.end()) group = groups.insert(groups.end(), {.name = kind, .parameters = {}});
      group->parameters.emplace_back(slots_[i]->name() + "." + name, tensor);
    }
  return groups;
}

AdapterState LayerAdapters::state() const {
  AdapterState state;
  for (size_t i = 0; i < slots_.size(); ++i) {
    for (const auto& [name, tensor] : adapters_[i]->parameters()) state[slots_[i]->name() + "." + name] = tensor;
    for (const auto& [name, tensor] : adapters_[i]->fixed()) state[slots_[i]->name() + "." + name] = tensor;
  }
  return state;
}

void LayerAdapters::detach() {
  for (auto* slot : slots_) slot->detach();
}

void LayerAdapters::merge(at::ScalarType dtype) {
  for (auto* slot : slots_) slot->merge(dtype);
}

void LayerAdapters::move_to(at::Device device) {
  for (const auto& adapter : adapters_) adapter->move_to(device);
  Attachment::move_to(device);  // what layers share
}

nlohmann::json LayerAdapters::published_targets() const { return peft::published_targets(choice_, slots_); }

}  // namespace graft::peft
