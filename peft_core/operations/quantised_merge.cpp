#include "peft_core/operations/quantised_merge.h"

#include <ATen/ATen.h>

#include "peft_core/operations/places_watch.h"
#include "peft_core/slots/quantized_linear.h"

namespace graft::peft {
namespace {

std::shared_ptr<FrozenLinear> stored(const LinearSlot& slot, const at::Tensor& merged, Rounding rounding, double direction_weight) {
  if (slot.base()->storage() != "nf4") return dense_linear(merged);
  if (rounding == Rounding::kNearest) return nf4_linear(merged);
  return nf4_linear(nf4_for_update(merged, update_directions(*slot.adapter(), *slot.base()), 64, direction_weight), merged.size(0), merged.size(1));
}

}  // namespace

std::vector<MergeLoss> merge_into_nf4(Places& places, Rounding rounding, double direction_weight) {
  at::NoGradGuard no_gradient;
  std::vector<MergeLoss> losses;
  for (auto* slot : all_linears(places)) {
    if (slot->adapter() == nullptr) continue;
    const auto base = slot->base()->weight(), merged = slot->adapter()->merged_weight(*slot->base()).contiguous();
    const auto replacement = stored(*slot, merged, rounding, direction_weight);
    const auto held = replacement->weight();
    MergeLoss loss{.layer = slot->name()};
    loss.kept.add(merged, held, base);
    loss.squared_error = (held - merged).square().sum(at::kDouble).item<double>();
    loss.squared_weight = merged.square().sum(at::kDouble).item<double>();
    losses.push_back(loss);
    if (slot->bias().defined()) slot->bias() = slot->adapter()->merged_bias(slot->bias());
    slot->replace_base(replacement);
    slot->detach();
  }
  return losses;
}

}  // namespace graft::peft
