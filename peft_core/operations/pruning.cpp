#include "peft_core/operations/pruning.h"

#include <ATen/ATen.h>

namespace graft::peft {
namespace {

/// (K) -> (K, 1, 1, ...), to be multiplied with K tensors of `like`'s shape.
at::Tensor along_first(const at::Tensor& weights, const at::Tensor& like) {
  std::vector<int64_t> shape(static_cast<size_t>(like.dim()), 1);
  shape.front() = weights.size(0);
  return weights.view(shape);
}

}  // namespace

at::Tensor keep_largest(const at::Tensor& values, double density) {
  if (density >= 1) return values;
  const auto count = static_cast<int64_t>(density * static_cast<double>(values.numel()));
  const auto flat = values.reshape({-1});
  const auto places = std::get<1>(at::topk(flat.abs(), count));
  return at::zeros_like(flat).index_copy_(0, places, flat.index_select(0, places)).view_as(values);
}

at::Tensor keep_at_random(const at::Tensor& values, double density, at::Generator& random) {
  if (density >= 1) return values;
  const auto mask = at::bernoulli(at::full_like(values, density), random);
  return values * mask / density;
}

at::Tensor weighted_sum(const std::vector<at::Tensor>& values, const at::Tensor& weights) {
  const auto all = at::stack(values);
  return (all * along_first(weights, all)).sum(0);
}

at::Tensor majority_mean(const std::vector<at::Tensor>& values, const at::Tensor& weights, bool by_frequency) {
  const auto all = at::stack(values);
  const auto signs = all.sign();
  const auto votes = (by_frequency ? signs : all).sum(0);
  const auto agrees = signs == at::where(votes >= 0, at::ones_like(votes), -at::ones_like(votes));
  const auto kept = (all * along_first(weights, all) * agrees).sum(0);
  return kept / agrees.sum(0).clamp_min(1);
}

}  // namespace graft::peft
