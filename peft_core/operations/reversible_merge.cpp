#include "peft_core/operations/reversible_merge.h"

#include <ATen/ATen.h>

#include "kernels/base/error.h"
#include "peft_core/operations/places_watch.h"

namespace graft::peft {

ReversibleMerge::ReversibleMerge(Places& places, at::ScalarType dtype) {
  for (auto* slot : all_linears(places)) {
    if (slot->adapter() == nullptr) continue;
    const Kept kept{slot, slot->base(), slot->adapter(), slot->bias()};
    slot->merge(dtype);
    kept_.push_back(kept);
    if (at::isfinite(slot->base()->as_stored()).all().item<bool>()) continue;
    const auto name = slot->name();
    undo();
    throw InvalidArgument({.where = name, .what = "is not finite after merging", .hint = "the adapter holds bad numbers, or the type is too narrow"});
  }
}

void ReversibleMerge::undo() {
  for (const auto& [slot, base, adapter, bias] : kept_) {
    slot->bias() = bias;
    slot->replace_base(base);
    slot->detach();
    slot->attach(adapter);
  }
  kept_.clear();
}

}  // namespace graft::peft
