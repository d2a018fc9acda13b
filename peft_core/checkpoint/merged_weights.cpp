#include "peft_core/checkpoint/merged_weights.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

at::Tensor merged_weight(const LinearSlot& slot) {
  at::NoGradGuard no_gradient;
  if (slot.adapter() != nullptr) return slot.adapter()->merged_weight(*slot.base());
  const auto stored = slot.base()->as_stored();
  return stored.defined() ? stored : slot.base()->weight();
}

MergedTensor merged_tensor(const LinearSlot& slot) {
  return {slot.name() + ".weight", {slot.base()->out_features(), slot.base()->in_features()}, [&slot] { return merged_weight(slot); }};
}

}  // namespace

bool head_stays_tied(const CausalLm& model) {
  const auto& head = *model.places().head;
  return model.config().tied_head && head.adapter() == nullptr && head.base() == model.embedding();
}

std::vector<MergedTensor> merged_tensors(const Places& places) {
  std::vector<MergedTensor> all;
  for (const auto* slot : places.linears) all.push_back(merged_tensor(*slot));
  for (const auto& slot : places.parameters)
    all.push_back({slot.name, slot.tensor->sizes().vec(), [tensor = slot.tensor] { return tensor->detach(); }});
  return all;
}

std::vector<MergedTensor> merged_tensors(const CausalLm& model) {
  std::vector<MergedTensor> all;
  const auto& embedding = model.embedding();
  all.push_back({"model.embed_tokens.weight", {embedding->out_features(), embedding->in_features()}, [embedding] {
                   const auto stored = embedding->as_stored();
                   return stored.defined() ? stored : embedding->weight();
                 }});
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

void expect_finite(const std::string& name, const at::Tensor& stored, const std::string& type) {
  if (at::isfinite(stored).all().item<bool>()) return;
  throw InvalidArgument({.where = name, .what = "has values that " + type + " cannot hold", .expected = "finite weights",
                         .hint = "choose --type bf16, which holds any size of number"});
}

}  // namespace graft::peft
