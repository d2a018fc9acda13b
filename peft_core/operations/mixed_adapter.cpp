#include "peft_core/operations/mixed_adapter.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/low_rank_op.h"

namespace graft::peft {
namespace {

/// Adapters of one layer draw different masks; the first draws those that it would draw alone.
uint64_t seed_of_part(uint64_t slot_seed, size_t index) { return slot_seed ^ (static_cast<uint64_t>(index) * 0x9E3779B97F4A7C15ull); }

}  // namespace

void MixedAdapter::set(size_t index, std::shared_ptr<const Adapter> part) {
  if (parts_.size() <= index) parts_.resize(index + 1);
  parts_[index] = std::move(part);
}

std::vector<MixedAdapter::Working> MixedAdapter::working(const AdapterWeights& weights) const {
  std::vector<Working> chosen;
  for (size_t i = 0; i < parts_.size() && i < weights.size(); ++i)
    if (parts_[i] != nullptr && weights[i] != 0) chosen.push_back({i, weights[i]});
  return chosen;
}

at::Tensor MixedAdapter::forward(const at::Tensor& x, const SlotCall& call) const {
  const auto& choice = call.context.adapters;
  const auto runs = choice == nullptr ? std::vector<AdapterChoice::Rows>{{x.size(0), state_->weights}} : choice->runs(x.size(0));
  if (runs.empty()) return frozen_linear(x, call.base, call.bias);
  const bool one_run = runs.size() == 1;
  if (one_run) {
    const auto chosen = working(runs.front().weights);
    if (chosen.empty()) return frozen_linear(x, call.base, call.bias);
    if (chosen.size() == 1 && chosen.front().weight == 1)
      return parts_[chosen.front().index]->forward(x, {call.base, call.bias, call.context, seed_of_part(call.slot_seed, chosen.front().index)});
  }
  if (all_low_rank(runs, call.context.training)) return shared_product(x, runs, call);
  return one_run ? weighted_sum(x, working(runs.front().weights), call) : row_by_row(x, runs, call);
}

bool MixedAdapter::all_low_rank(const std::vector<AdapterChoice::Rows>& runs, bool training) const {
  for (const auto& run : runs)
    for (const auto& [index, weight] : working(run.weights)) {
      const auto update = parts_[index]->low_rank();
      if (!update || (training && update->dropout > 0)) return false;
    }
  return true;
}

at::Tensor MixedAdapter::shared_product(const at::Tensor& x, const std::vector<AdapterChoice::Rows>& runs, const SlotCall& call) const {
  std::vector<at::Tensor> a, b;
  std::vector<int64_t> begin(parts_.size(), -1), rank(parts_.size(), 0);
  int64_t width = 0;
  for (const auto& run : runs)
    for (const auto& [index, weight] : working(run.weights)) {
      if (begin[index] >= 0) continue;
      const auto update = *parts_[index]->low_rank();
      begin[index] = width, rank[index] = update.a.size(0);
      width += rank[index];
      a.push_back(update.a), b.push_back(update.b * update.scale);
    }
  if (a.empty()) return frozen_linear(x, call.base, call.bias);
  auto factors = at::zeros({static_cast<int64_t>(runs.size()), width}, a.front().options().requires_grad(false));
  for (size_t r = 0; r < runs.size(); ++r)
    for (const auto& [index, weight] : working(runs[r].weights))
      factors.select(0, static_cast<int64_t>(r)).narrow(0, begin[index], rank[index]).fill_(weight);
  const auto all_a = at::cat(a), all_b = at::cat(b, 1);
  if (runs.size() == 1) return low_rank_linear(x, all_a, all_b * factors, 1.0, call.base, call.bias);
  std::vector<int64_t> counts;
  for (const auto& run : runs) counts.push_back(run.count);
  const auto repeats = at::tensor(at::ArrayRef<int64_t>(counts), at::kLong).to(factors.device());
  const auto row_factors = factors.repeat_interleave(repeats, 0).to(x.scalar_type());
  return low_rank_linear_by_rows(x, all_a, all_b, row_factors, call.base, call.bias);
}

at::Tensor MixedAdapter::weighted_sum(const at::Tensor& x, const std::vector<Working>& working, const SlotCall& call) const {
  double rest = 1;
  for (const auto& [index, weight] : working) rest -= weight;
  // Summed in fp32: what the adapters add is small beside the base's output, which stands in every term.
  at::Tensor sum;
  const auto add = [&](const at::Tensor& y, double weight) {
    sum = sum.defined() ? sum + y.to(at::kFloat) * weight : y.to(at::kFloat) * weight;
  };
  if (std::abs(rest) > 1e-12) add(frozen_linear(x, call.base, call.bias), rest);
  for (const auto& [index, weight] : working)
    add(parts_[index]->forward(x, {call.base, call.bias, call.context, seed_of_part(call.slot_seed, index)}), weight);
  return sum.to(x.scalar_type());
}

at::Tensor MixedAdapter::row_by_row(const at::Tensor& x, const std::vector<AdapterChoice::Rows>& runs, const SlotCall& call) const {
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (const auto& run : runs) {
    const ForwardContext context{.training = call.context.training, .dropout_seed = call.context.dropout_seed + static_cast<uint64_t>(begin),
                                 .adapters = AdapterChoice::for_all(run.weights)};
    parts.push_back(forward(x.narrow(0, begin, run.count), {call.base, call.bias, context, call.slot_seed}));
    begin += run.count;
  }
  return at::cat(parts);
}

at::Tensor MixedAdapter::merged_weight(const FrozenLinear& base) const {
  const auto chosen = working(state_->weights);
  if (chosen.size() == 1 && chosen.front().weight == 1) return parts_[chosen.front().index]->merged_weight(base);
  const auto weight = base.weight();
  auto merged = weight.clone();
  for (const auto& [index, factor] : chosen) merged.add_(parts_[index]->merged_weight(base) - weight, factor);
  return merged;
}

at::Tensor MixedAdapter::merged_bias(const at::Tensor& bias) const {
  auto merged = bias;
  for (const auto& [index, factor] : working(state_->weights)) merged = merged + (parts_[index]->merged_bias(bias) - bias) * factor;
  return merged;
}

NamedTensors MixedAdapter::parameters() const {
  NamedTensors all;
  for (size_t i = 0; i < parts_.size(); ++i)
    if (parts_[i] != nullptr)
      for (const auto& [name, tensor] : parts_[i]->parameters()) all.emplace_back(prefix(i) + name, tensor);
  return all;
}

NamedTensors MixedAdapter::fixed() const {
  NamedTensors all;
  for (size_t i = 0; i < parts_.size(); ++i)
    if (parts_[i] != nullptr)
      for (const auto& [name, tensor] : parts_[i]->fixed()) all.emplace_back(prefix(i) + name, tensor);
  return all;
}

}  // namespace graft::peft
