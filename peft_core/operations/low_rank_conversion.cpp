#include "peft_core/operations/low_rank_conversion.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernels/base/error.h"
#include "peft_core/operations/places_watch.h"

namespace graft::peft {
namespace {

double relative(double error, double whole) { return whole > 0 ? std::sqrt(error / whole) : 0; }

double squares(const at::Tensor& values) { return values.square().sum(at::kDouble).item<double>(); }

ConvertedLayer converted(const LinearSlot& slot, const std::shared_ptr<const FrozenLinear>& base_before, int64_t rank) {
  const auto factors = slot.base() == base_before ? slot.adapter()->low_rank() : std::nullopt;
  const auto delta = factors ? dense_update(*factors) : slot.adapter()->merged_weight(*slot.base()) - base_before->weight();
  ConvertedLayer layer{.layer = slot.name(), .update = factors ? nearest_low_rank(std::vector{*factors}, rank) : nearest_low_rank(delta, rank)};
  layer.squared_update = squares(delta);
  layer.squared_error = squares(delta - dense_update(layer.update));
  if (!std::isfinite(layer.squared_update)) throw InvalidArgument({.where = slot.name(), .what = "has an update that is not finite"});
  return layer;
}

/// The first bias that would be another after merging; none if there is none.
std::optional<std::string> changed_bias(const std::vector<LinearSlot*>& slots) {
  for (const auto* slot : slots)
    if (slot->adapter() != nullptr && slot->bias().defined() && !slot->adapter()->merged_bias(slot->bias()).equal(slot->bias()))
      return "the bias of " + slot->name();
  return std::nullopt;
}

}  // namespace

double ConvertedLayer::relative_error() const { return relative(squared_error, squared_update); }

double Conversion::relative_error() const {
  double error = 0, whole = 0;
  for (const auto& layer : layers) error += layer.squared_error, whole += layer.squared_update;
  return relative(error, whole);
}

LowRankUpdates Conversion::updates() const {
  LowRankUpdates all;
  for (const auto& layer : layers) all.push_back({layer.layer, layer.update});
  return all;
}

Conversion convert_to_low_rank(Places& places, int64_t rank, const std::function<std::unique_ptr<Attachment>()>& attach) {
  if (rank < 1) throw InvalidArgument({.where = "rank", .what = "is below 1", .got = std::to_string(rank)});
  at::NoGradGuard no_gradient;
  const PlacesWatch before(places);
  const auto attachment = attach();
  Conversion conversion;
  const auto slots = all_linears(places);
  auto other = before.other_change(/*bases_too=*/false);
  if (!other) other = changed_bias(slots);
  for (size_t i = 0; !other && i < slots.size(); ++i)
    if (slots[i]->adapter() != nullptr) conversion.layers.push_back(converted(*slots[i], before.base(i), rank));
  attachment->detach();
  for (size_t i = 0; i < slots.size(); ++i) slots[i]->replace_base(before.base(i));
  if (other)
    throw InvalidArgument({.where = "convert", .what = "the adapter changes " + *other + ", which no LoRA can",
                           .expected = "an adapter that changes weights of linear layers only"});
  if (conversion.layers.empty()) throw InvalidArgument({.where = "convert", .what = "the adapter changes no linear layer"});
  return conversion;
}

}  // namespace graft::peft
