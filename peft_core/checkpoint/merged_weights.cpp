#include "peft_core/checkpoint/merged_weights.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

/// Of a linear layer or the embedding.
at::Tensor merged_weight(const auto& slot) {
  at::NoGradGuard no_gradient;
  if (slot.adapter() != nullptr) return slot.adapter()->merged_weight(*slot.base());
  const auto stored = slot.base()->as_stored();
  return stored.defined() ? stored : slot.base()->weight();
}

MergedTensor plain_tensor(const auto& slot) {
  return {slot.name() + ".weight", {slot.base()->out_features(), slot.base()->in_features()}, [&slot] { return merged_weight(slot); }};
}

MergedTensor merged_tensor(const LinearSlot& slot) {
  auto tensor = plain_tensor(slot);
  if (slot.adapter() == nullptr) return tensor;
  tensor.base = [&slot] { return slot.base()->weight(); };
  tensor.directions = [&slot] { return update_directions(*slot.adapter(), *slot.base()); };
  return tensor;
}

MergedTensor merged_tensor(const EmbeddingSlot& slot) { return plain_tensor(slot); }

/// A norm's weight or a bias; `slots` tells whose bias it is.
MergedTensor merged_tensor(const ParameterSlot& parameter, const std::vector<LinearSlot*>& slots) {
  const auto owner = std::find_if(slots.begin(), slots.end(), [&](const LinearSlot* slot) { return &slot->bias() == parameter.tensor; });
  const auto* slot = owner == slots.end() ? nullptr : *owner;
  return {parameter.name, parameter.tensor->sizes().vec(), [tensor = parameter.tensor, slot] {
            const at::NoGradGuard no_gradient;
            return slot == nullptr || slot->adapter() == nullptr ? tensor->detach() : slot->adapter()->merged_bias(tensor->detach());
          }};
}

}  // namespace

bool head_stays_tied(const CausalLm& model) {
  const auto& head = *model.places().head;
  const auto& embedding = *model.places().embedding;
  // One adapter may change both alike.
  const bool same_adapter = dynamic_cast<const Adapter*>(embedding.adapter().get()) == head.adapter().get();
  return model.config().tied_head && same_adapter && head.base() == embedding.base();
}

std::vector<MergedTensor> merged_tensors(const Places& places) {
  std::vector<MergedTensor> all;
  for (const auto* slot : places.linears) all.push_back(merged_tensor(*slot));
  for (const auto& parameter : places.parameters) all.push_back(merged_tensor(parameter, places.linears));
  return all;
}

std::vector<MergedTensor> merged_tensors(const CausalLm& model) {
  std::vector<MergedTensor> all;
  all.push_back(merged_tensor(*model.places().embedding));
  for (auto& tensor : merged_tensors(model.places())) all.push_back(std::move(tensor));
  if (!head_stays_tied(model)) all.push_back(merged_tensor(*model.places().head));
  return all;
}

TensorRounding rounding_of(const std::string& name, const at::Tensor& exact, const at::Tensor& stored) {
  constexpr int64_t kPart = 1 << 22;  // elements compared at a time: an embedding shall not stand in memory five times
  TensorRounding rounding{.name = name};
  const auto all_exact = exact.contiguous().view(-1), all_stored = stored.contiguous().view(-1);
  for (int64_t begin = 0; begin < all_exact.size(0); begin += kPart) {
    const auto count = std::min(kPart, all_exact.size(0) - begin);
    const auto weight = all_exact.narrow(0, begin, count).to(at::kFloat);
    rounding.squared_weight += weight.square().sum(at::kDouble).item<double>();
    if (stored.is_same(exact)) continue;  // nothing was rounded
    const auto error = all_stored.narrow(0, begin, count).to(at::kFloat) - weight;
    rounding.largest = std::max(rounding.largest, error.abs().max().item<double>());
    rounding.squared_error += error.square().sum(at::kDouble).item<double>();
  }
  return rounding;
}

at::Tensor before_rounding(const MergedTensor& tensor, const at::Tensor& exact, Rounding rounding, StoredType type) {
  if (rounding == Rounding::kNearest || !tensor.directions) return exact;
  return rounded_for_update(exact.to(at::kFloat), tensor.directions(), type);
}

void expect_finite(const std::string& name, const at::Tensor& stored, const std::string& type) {
  if (at::isfinite(stored).all().item<bool>()) return;
  throw InvalidArgument({.where = name, .what = "has values that " + type + " cannot hold", .expected = "finite weights",
                         .hint = "choose --type bf16, which holds any size of number"});
}

}  // namespace graft::peft
