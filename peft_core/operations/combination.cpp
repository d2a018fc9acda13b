#include "peft_core/operations/combination.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"
#include "peft_core/operations/pruning.h"

namespace graft::peft {
namespace {

using enum Combination;

/// The adapters that change one layer.
struct Layer {
  std::string name;
  std::vector<LowRankUpdate> updates;
  std::vector<double> weights;
};

bool by_svd(Combination how) { return how == kSvd || how == kTiesSvd || how == kDareLinearSvd || how == kDareTiesSvd || how == kMagnitudePruneSvd; }

/// What is done to factors or to dense updates, whichever the kind works on.
Combination without_svd(Combination how) {
  switch (how) {
    case kSvd: return kLinear;
    case kTiesSvd: return kTies;
    case kDareLinearSvd: return kDareLinear;
    case kDareTiesSvd: return kDareTies;
    case kMagnitudePruneSvd: return kMagnitudePrune;
    default: return how;
  }
}

at::Tensor numbers(const std::vector<double>& values) { return at::tensor(at::ArrayRef<double>(values), at::kDouble).to(at::kFloat); }

at::Tensor merged(std::vector<at::Tensor> values, const std::vector<double>& weights, Combination how, const CombinationOptions& options,
                  at::Generator& random) {
  for (auto& value : values) {
    if (how == kTies || how == kMagnitudePrune) value = keep_largest(value, options.density);
    if (how == kDareLinear || how == kDareTies) value = keep_at_random(value, options.density, random);
  }
  if (how == kTies || how == kDareTies) return majority_mean(values, numbers(weights), options.majority == MajoritySign::kFrequency);
  return weighted_sum(values, numbers(weights));
}

/// Each update with its weight in its scale.
std::vector<LowRankUpdate> weighted(const Layer& layer) {
  auto updates = layer.updates;
  for (size_t i = 0; i < updates.size(); ++i) updates[i].scale *= layer.weights[i];
  return updates;
}

LowRankUpdate concatenated(const Layer& layer) {
  std::vector<at::Tensor> a, b;
  for (const auto& update : weighted(layer)) a.push_back(update.a * update.scale), b.push_back(update.b);
  return {.a = at::cat(a), .b = at::cat(b, 1)};
}

LowRankUpdate cut_to_rank(const Layer& layer, int64_t rank, const CombinationOptions& options, at::Generator& random) {
  if (options.how == kSvd) return nearest_low_rank(weighted(layer), rank);
  std::vector<at::Tensor> dense;
  for (const auto& update : layer.updates) dense.push_back(dense_update(update));
  return nearest_low_rank(merged(dense, layer.weights, without_svd(options.how), options, random), rank);
}

void expect_equal_ranks(const Layer& layer) {
  for (const auto& update : layer.updates)
    if (update.a.size(0) != layer.updates.front().a.size(0))
      throw InvalidArgument({.where = layer.name, .what = "has different ranks in these adapters, and this combination needs equal ones",
                             .expected = "rank " + std::to_string(layer.updates.front().a.size(0)), .got = std::to_string(update.a.size(0)),
                             .hint = "cat and the svd combinations take any ranks"});
}

LowRankUpdate factor_by_factor(const Layer& layer, Combination how, const CombinationOptions& options, at::Generator& random) {
  expect_equal_ranks(layer);
  std::vector<at::Tensor> a, b;
  std::vector<double> a_weights, b_weights;
  for (const auto& update : weighted(layer)) {
    a.push_back(update.a), b.push_back(update.b);
    b_weights.push_back(std::sqrt(std::abs(update.scale)));
    a_weights.push_back(std::copysign(b_weights.back(), update.scale));  // the sign goes to one side
  }
  const auto merged_a = merged(a, a_weights, how, options, random);
  return {.a = merged_a, .b = merged(b, b_weights, how, options, random)};
}

std::vector<Layer> by_layer(const std::vector<LowRankUpdates>& adapters, std::span<const double> weights) {
  std::vector<Layer> layers;
  for (size_t i = 0; i < adapters.size(); ++i)
    for (const auto& [name, update] : adapters[i]) {
      auto layer = std::find_if(layers.begin(), layers.end(), [&name = name](const Layer& other) { return other.name == name; });
      if (layer == layers.end()) layer = layers.insert(layers.end(), Layer{name, {}, {}});
      if (!layer->updates.empty() && (layer->updates.front().a.size(1) != update.a.size(1) || layer->updates.front().b.size(0) != update.b.size(0)))
        throw InvalidArgument({.where = name, .what = "has other sizes in one of the adapters", .hint = "they were made for different models"});
      layer->updates.push_back(update);
      layer->weights.push_back(weights[i]);
    }
  return layers;
}

int64_t largest_rank(const std::vector<LowRankUpdates>& adapters) {
  int64_t largest = 0;
  for (const auto& adapter : adapters)
    for (const auto& layer : adapter) largest = std::max(largest, layer.update.a.size(0));
  return largest;
}

void check(size_t adapters, std::span<const double> weights, const CombinationOptions& options) {
  if (adapters == 0) throw InvalidArgument({.where = "combine", .what = "needs at least one adapter"});
  if (weights.size() != adapters)
    throw InvalidArgument({.where = "weights", .what = "need one number for each adapter", .expected = std::to_string(adapters),
                           .got = std::to_string(weights.size())});
  for (const double weight : weights)
    if (!std::isfinite(weight)) throw InvalidArgument({.where = "weights", .what = "hold something that is no number"});
  const bool at_random = without_svd(options.how) == kDareLinear || without_svd(options.how) == kDareTies;
  if (!(options.density >= 0 && options.density <= 1) || (at_random && options.density == 0))
    throw InvalidArgument({.where = "density", .what = "is out of range", .expected = at_random ? "0 < density <= 1" : "0 <= density <= 1",
                           .got = std::to_string(options.density)});
  if (options.rank < 0) throw InvalidArgument({.where = "rank", .what = "is below 1", .got = std::to_string(options.rank)});
}

}  // namespace

const std::vector<std::string>& combination_names() {
  static const std::vector<std::string> names = {"linear", "cat", "svd", "ties", "ties_svd", "dare_linear", "dare_ties", "dare_linear_svd",
                                                 "dare_ties_svd", "magnitude_prune", "magnitude_prune_svd"};
  return names;
}

Combination combination(const std::string& name) {
  const auto& names = combination_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) throw InvalidArgument({.where = "combination", .what = "is \"" + name + "\"", .hint = suggest(name, names)});
  return static_cast<Combination>(found - names.begin());
}

MajoritySign majority_sign(const std::string& name) {
  if (name == "total") return MajoritySign::kTotal;
  if (name == "frequency") return MajoritySign::kFrequency;
  throw InvalidArgument({.where = "majority sign", .what = "is \"" + name + "\"", .expected = "total or frequency"});
}

LowRankUpdates combined(const std::vector<LowRankUpdates>& adapters, std::span<const double> weights, const CombinationOptions& options) {
  check(adapters.size(), weights, options);
  at::NoGradGuard no_gradient;
  auto random = at::make_generator<at::CPUGeneratorImpl>(options.seed);
  const auto how = adapters.size() == 1 ? kLinear : options.how;
  const auto rank = options.rank > 0 ? options.rank : largest_rank(adapters);
  LowRankUpdates result;
  for (const auto& layer : by_layer(adapters, weights))
    result.push_back({layer.name, how == kCat     ? concatenated(layer)
                                  : by_svd(how) ? cut_to_rank(layer, rank, options, random)
                                                : factor_by_factor(layer, how, options, random)});
  return result;
}

}  // namespace graft::peft
