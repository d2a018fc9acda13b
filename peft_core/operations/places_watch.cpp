#include "peft_core/operations/places_watch.h"

namespace graft::peft {

std::vector<LinearSlot*> all_linears(const Places& places) {
  auto slots = places.linears;
  if (places.head != nullptr) slots.push_back(places.head);
  return slots;
}

PlacesWatch::PlacesWatch(const Places& places) : places_(places) {
  for (const auto* slot : all_linears(places)) bases_.push_back(slot->base());
  for (const auto& slot : places.parameters) parameters_.push_back(*slot.tensor);
}

std::optional<std::string> PlacesWatch::other_change(bool bases_too) const {
  const auto slots = all_linears(places_);
  for (size_t i = 0; bases_too && i < slots.size(); ++i)
    if (slots[i]->base() != bases_[i]) return "the weight " + slots[i]->name();
  for (size_t i = 0; i < places_.parameters.size(); ++i)
    if (!places_.parameters[i].tensor->is_same(parameters_[i])) return "the parameter " + places_.parameters[i].name;
  if (places_.embedding != nullptr && places_.embedding->adapter() != nullptr) return "the embedding";
  for (const auto* slot : places_.activations)
    if (slot->adapter() != nullptr) return "what follows " + slot->name();
  if (places_.prompt != nullptr && places_.prompt->count() > 0) return "the tokens before a sequence";
  for (const auto* slot : places_.prefixes)
    if (slot->count() > 0) return "the keys before a sequence";
  return std::nullopt;
}

}  // namespace graft::peft
