#include "peft_core/operations/adapter_mixture.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"
#include "peft_core/operations/places_watch.h"

namespace graft::peft {

void expect_adapter_name(const std::string& name) {
  const bool fits = !name.empty() && name.size() <= 64 && name.front() != '.' && name.find_first_not_of(
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == std::string::npos;
  if (!fits)
    throw InvalidArgument({.where = "adapter", .what = "'" + name + "' cannot be the name of an adapter",
                           .expected = "up to 64 letters, digits, _, - and ., not beginning with a dot"});
}

void AdapterMixture::add(const std::string& name, double weight, const Attach& attach) {
  expect_adapter_name(name);
  if (std::find(names().begin(), names().end(), name) != names().end())
    throw InvalidArgument({.where = "adapter", .what = "two adapters are called '" + name + "'", .hint = "give each a name of its own"});
  if (!std::isfinite(weight)) throw InvalidArgument({.where = "adapter " + name, .what = "has a weight that is no number"});
  for (auto& [slot, mixed] : mixed_) slot->detach();
  const PlacesWatch before(places_);
  std::unique_ptr<Attachment> part;
  try {
    part = attach();
    if (const auto other = before.other_change(/*bases_too=*/true)) {
      part->detach();
      throw InvalidArgument({.where = "adapter " + name, .what = "cannot stand beside others, as it changes " + *other,
                             .expected = "an adapter that changes linear layers only", .hint = "use it alone"});
    }
  } catch (...) {
    const auto slots = all_linears(places_);
    for (size_t i = 0; i < slots.size(); ++i) slots[i]->replace_base(before.base(i));
    put_back();
    throw;
  }
  const size_t index = parts_.size();
  for (auto* slot : all_linears(places_)) {
    if (slot->adapter() == nullptr) continue;
    auto& mixed = mixed_[slot];
    if (mixed == nullptr) mixed = std::make_shared<MixedAdapter>(state_);
    mixed->set(index, slot->adapter());
    slot->detach();
  }
  parts_.push_back(std::move(part));
  state_->names.push_back(name);
  state_->weights.push_back(weight);
  put_back();
}

void AdapterMixture::put_back() {
  for (auto& [slot, mixed] : mixed_) {
    slot->detach();
    slot->attach(mixed);
  }
}

AdapterWeights AdapterMixture::weights_of(const Weights& weights) const {
  AdapterWeights all(names().size(), 0.0);
  for (const auto& [name, weight] : weights) {
    const auto found = std::find(names().begin(), names().end(), name);
    if (found == names().end())
      throw InvalidArgument({.where = "adapter", .what = "there is no adapter '" + name + "' here", .hint = suggest(name, names())});
    all[static_cast<size_t>(found - names().begin())] = weight;
  }
  return all;
}

std::shared_ptr<const AdapterChoice> AdapterMixture::choose(std::span<const Weights> of_sequences, std::span<const int32_t> lengths) const {
  std::vector<AdapterWeights> all;
  for (const auto& weights : of_sequences) all.push_back(weights_of(weights));
  return AdapterChoice::for_sequences(all, lengths);
}

std::vector<TrainableGroup> AdapterMixture::trainable() const {
  std::vector<TrainableGroup> groups;
  for (size_t i = 0; i < parts_.size(); ++i)
    for (auto& group : parts_[i]->trainable()) {
      for (auto& [name, tensor] : group.parameters) name = names()[i] + "/" + name;
      groups.push_back(std::move(group));
    }
  return groups;
}

at::Tensor AdapterMixture::auxiliary_loss() const {
  at::Tensor sum;
  for (const auto& part : parts_)
    if (const auto loss = part->auxiliary_loss(); loss.defined()) sum = sum.defined() ? sum + loss : loss;
  return sum;
}

bool AdapterMixture::after_step(int64_t step) {
  bool replaced = false;
  for (const auto& part : parts_) replaced = part->after_step(step) || replaced;
  return replaced;
}

void AdapterMixture::begin_training(int64_t total_steps) {
  for (const auto& part : parts_) part->begin_training(total_steps);
}

void AdapterMixture::before_step(int64_t step, double gradient_scale) {
  for (const auto& part : parts_) part->before_step(step, gradient_scale);
}

NamedTensors AdapterMixture::training_state() const {
  NamedTensors all;
  for (size_t i = 0; i < parts_.size(); ++i)
    for (const auto& [name, tensor] : parts_[i]->training_state()) all.emplace_back(names()[i] + "/" + name, tensor);
  return all;
}

AdapterState AdapterMixture::state() const {
  AdapterState all;
  for (size_t i = 0; i < parts_.size(); ++i)
    for (const auto& [name, tensor] : parts_[i]->state()) all[names()[i] + "/" + name] = tensor;
  return all;
}

nlohmann::json AdapterMixture::published_config() const {
  throw InvalidArgument({.where = "adapters", .what = "several adapters have no config in common", .hint = "save them as a mixture, each in a folder of its own"});
}

void AdapterMixture::detach() {
  for (auto& [slot, mixed] : mixed_) slot->detach();
}

void AdapterMixture::move_to(at::Device device) {
  for (const auto& part : parts_) part->move_to(device);
}

void AdapterMixture::merge(at::ScalarType dtype) {
  for (auto& [slot, mixed] : mixed_) slot->merge(dtype);
}

}  // namespace graft::peft
