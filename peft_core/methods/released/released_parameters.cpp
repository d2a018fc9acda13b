#include "peft_core/methods/released/released_parameters.h"

#include <algorithm>

#include "kernels/base/error.h"

namespace graft::peft {

ReleasedParameters::ReleasedParameters(std::string group, std::vector<ParameterSlot> released)
    : group_(std::move(group)), released_(std::move(released)) {
  for (auto& slot : released_) {
    original_.push_back(*slot.tensor);
    *slot.tensor = slot.tensor->to(at::kFloat).clone().requires_grad_();
  }
}

std::vector<TrainableGroup> ReleasedParameters::trainable() const {
  TrainableGroup group{.name = group_, .parameters = {}, .weight_decay = false};
  for (const auto& slot : released_) group.parameters.emplace_back(slot.name, *slot.tensor);
  return {std::move(group)};
}

AdapterState ReleasedParameters::state() const {
  AdapterState state;
  for (const auto& slot : released_) state[slot.name] = *slot.tensor;
  return state;
}

void ReleasedParameters::detach() {
  for (size_t i = 0; i < released_.size(); ++i) *released_[i].tensor = original_[i];
}

void ReleasedParameters::merge(at::ScalarType) {
  for (auto& slot : released_) *slot.tensor = slot.tensor->detach();
}

std::vector<ParameterSlot> matching_parameters(const Places& places, std::initializer_list<ParameterSlot::Kind> kinds,
                                               const std::vector<std::string>& patterns, const std::string& nothing_there) {
  std::vector<ParameterSlot> chosen;
  for (const auto& slot : places.parameters) {
    const auto fits = [&](const std::string& pattern) { return pattern_matches_end("(" + pattern + ")(\\.(weight|bias))?", slot.name); };
    const bool wanted = std::find(kinds.begin(), kinds.end(), slot.kind) != kinds.end();
    if (wanted && (patterns.empty() || std::any_of(patterns.begin(), patterns.end(), fits))) chosen.push_back(slot);
  }
  if (chosen.empty()) throw InvalidArgument({.where = "method.targets", .what = nothing_there});
  return chosen;
}

}  // namespace graft::peft
