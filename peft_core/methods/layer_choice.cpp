#include "peft_core/methods/layer_choice.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace graft::peft {
namespace {

/// The N of ".layers.N." in a slot's name; -1 outside the layers.
int64_t layer_number(const std::string& name) {
  constexpr std::string_view mark = ".layers.";
  const auto at = name.find(mark);
  return at == std::string::npos ? -1 : std::strtoll(name.c_str() + at + mark.size(), nullptr, 10);
}

bool contains(const auto& values, const auto& value) { return std::find(values.begin(), values.end(), value) != values.end(); }

}  // namespace

void expect_rank(int64_t rank, const LinearSlot& slot, int64_t limit, const std::string& meaning) {
  if (rank >= 1 && rank <= limit) return;
  throw InvalidArgument({.where = "method.rank", .what = "does not fit layer " + slot.name(),
                         .expected = "1.." + std::to_string(limit) + " = " + meaning, .got = std::to_string(rank)});
}

void expect_rank(int64_t rank, const LinearSlot& slot) {
  expect_rank(rank, slot, std::min(slot.base()->in_features(), slot.base()->out_features()), "min(in, out)");
}

std::vector<LinearSlot*> chosen_slots(const Places& places, const LayerChoice& choice) {
  auto slots = matching_linears(places, choice.targets, "method.targets");
  if (!choice.exclude.empty()) {
    const auto excluded = matching_linears(places, choice.exclude, "method.exclude");
    std::erase_if(slots, [&](LinearSlot* slot) { return contains(excluded, slot); });
  }
  if (!choice.layers.empty())
    std::erase_if(slots, [&](const LinearSlot* slot) { return !contains(choice.layers, layer_number(slot->name())); });
  if (slots.empty())
    throw InvalidArgument({.where = "method.targets", .what = "choose no layer that method.exclude and method.layers leave"});
  return slots;
}

nlohmann::json published_targets(const LayerChoice& choice, const std::vector<LinearSlot*>& slots) {
  const bool all_of_them = choice.exclude.empty() && choice.layers.empty();
  const bool by_ending = all_of_them && !std::any_of(choice.targets.begin(), choice.targets.end(), [](const std::string& target) {
    return target != "all-linear" && target.find_first_of("*+?()[]{}|\\^$.") != std::string::npos;
  });
  std::set<std::string> endings;
  for (const auto* slot : slots) endings.insert(by_ending ? slot->name().substr(slot->name().rfind('.') + 1) : slot->name());
  return endings;
}

void read_published_targets(const nlohmann::json& published, nlohmann::json& method) {
  if (const auto found = published.find("fan_in_fan_out"); found != published.end() && *found == true)
    throw InvalidArgument({.where = "adapter_config.json", .what = "uses fan_in_fan_out", .expected = "weights of shape (out, in)"});
  method["targets"] = published.at("target_modules");
  if (const auto found = published.find("exclude_modules"); found != published.end() && !found->empty()) method["exclude"] = *found;
  if (const auto found = published.find("layers_to_transform"); found != published.end() && !found->is_null())
    method["layers"] = found->is_array() ? *found : nlohmann::json::array({*found});
}

}  // namespace graft::peft
