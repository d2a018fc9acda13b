#include "pipelines/language/merge_check.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"

namespace graft::pipelines {
namespace {

using peft::TensorRounding;

constexpr int64_t kProbeLengths[] = {1, 8, 24, 64};

/// "model.layers.3.mlp.up_proj.weight" -> "layers.3"; the rest of the model by its own names.
std::string layer_of(const std::string& name) {
  constexpr std::string_view prefix = "model.";
  if (!name.starts_with(prefix)) return name.substr(0, name.rfind('.'));
  const auto rest = name.substr(prefix.size());
  return rest.substr(0, rest.find('.', rest.starts_with("layers.") ? 7 : 0));
}

void add(TensorRounding& sum, const TensorRounding& part) {
  sum.largest = std::max(sum.largest, part.largest);
  sum.squared_error += part.squared_error;
  sum.squared_weight += part.squared_weight;
  sum.kept.product += part.kept.product;
  sum.kept.squared_update += part.kept.squared_update;
}

double relative(const TensorRounding& rounding) {
  return rounding.squared_weight > 0 ? std::sqrt(rounding.squared_error / rounding.squared_weight) : 0;
}

/// In the model's order.
std::vector<TensorRounding> by_layer(const std::vector<TensorRounding>& weights) {
  std::vector<TensorRounding> layers;
  for (const auto& tensor : weights) {
    const auto name = layer_of(tensor.name);
    const auto same = std::find_if(layers.begin(), layers.end(), [&](const TensorRounding& layer) { return layer.name == name; });
    add(same == layers.end() ? layers.emplace_back(TensorRounding{.name = name}) : *same, tensor);
  }
  return layers;
}

TensorRounding total(const std::vector<TensorRounding>& weights) {
  TensorRounding sum;
  for (const auto& tensor : weights) add(sum, tensor);
  return sum;
}

void refuse_unmergeable(const peft::MethodSpec& method, const std::string& where) {
  if (method.traits.mergeable) return;
  std::vector<std::string> mergeable;
  for (const auto& other : peft::builtin_methods())
    if (other.traits.mergeable) mergeable.push_back(other.name);
  throw InvalidArgument({.where = where, .what = "an adapter of method '" + method.name + "' cannot be folded into weights",
                         .expected = join(mergeable), .hint = "use it beside its base with --adapter"});
}

}  // namespace

UnmergedModel load_unmerged(const std::filesystem::path& model, const std::filesystem::path& adapter, BaseConfig config) {
  config.compute = "fp32";
  UnmergedModel unmerged;
  if (!adapter.empty() && peft::is_mixture(adapter)) {
    const auto parts = peft::read_mixture(adapter);
    for (const auto& part : parts) refuse_unmergeable(*peft::read_adapter(part.folder).method, part.folder.string());
    unmerged.language = load_base_model(model, config);
    load_adapters(unmerged.language, parts, config);
    unmerged.method = "mixture";
    return unmerged;
  }
  if (!adapter.empty()) {
    unmerged.adapter = peft::read_adapter(adapter);
    unmerged.method = unmerged.adapter->method->name;
    refuse_unmergeable(*unmerged.adapter->method, adapter.string());
  }
  unmerged.language = load_base_model(model, config);
  if (unmerged.adapter)
    unmerged.language.attachment = peft::attach_adapter(*unmerged.adapter, unmerged.language.model->places(), unmerged.language.files.fingerprint,
                                                        config.accept_other, adapter.string());
  return unmerged;
}

std::vector<std::vector<int32_t>> probe_sequences(int64_t vocabulary) {
  std::vector<std::vector<int32_t>> sequences;
  uint64_t state = 0x9E3779B97F4A7C15ull;  // a plain multiplicative generator: any spread over the vocabulary will do
  for (const auto length : kProbeLengths) {
    auto& ids = sequences.emplace_back();
    for (int64_t i = 0; i < length; ++i) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      ids.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocabulary)));
    }
  }
  return sequences;
}

std::vector<at::Tensor> probe_logits(const peft::CausalLm& model) {
  at::NoGradGuard no_gradient;
  std::vector<at::Tensor> logits;
  for (const auto& ids : probe_sequences(model.config().vocabulary)) {
    const std::vector<int32_t> lengths{static_cast<int32_t>(ids.size())};
    logits.push_back(model.logits(model.hidden_states(peft::TokenStream::of(ids, lengths), {})));
  }
  return logits;
}

LogitDifference logit_difference(const std::vector<at::Tensor>& exact, const std::vector<at::Tensor>& written) {
  GRAFT_ASSERT(exact.size() == written.size());
  LogitDifference difference;
  double sum = 0;
  int64_t count = 0, same = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const auto error = (written[i] - exact[i]).abs();
    // A NaN must not vanish in a comparison.
    if (!at::isfinite(error).all().item<bool>())
      throw NumericalError({.where = "merge", .what = "the model's logits are not finite", .hint = "the base or the adapter holds bad numbers"});
    difference.largest = std::max(difference.largest, error.max().item<double>());
    difference.largest_logit = std::max(difference.largest_logit, exact[i].abs().max().item<double>());
    sum += error.sum(at::kDouble).item<double>();
    same += exact[i].argmax(1).eq(written[i].argmax(1)).sum().item<int64_t>();
    count += error.numel();
    difference.places += error.size(0);
  }
  difference.mean = sum / static_cast<double>(count);
  difference.same_best_token = static_cast<double>(same) / static_cast<double>(difference.places);
  return difference;
}

LogitDifference difference_of_written(const std::filesystem::path& written, const std::vector<at::Tensor>& exact) {
  const auto reopened = load_base_model(written, {.compute = "fp32"});
  return logit_difference(exact, probe_logits(*reopened.model));
}

nlohmann::ordered_json error_report(const LogitDifference& logits, const std::vector<TensorRounding>& weights) {
  const auto all = total(weights);
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const auto& layer : by_layer(weights))
    layers.push_back({{"name", layer.name}, {"max_weight_error", layer.largest}, {"relative_weight_error", relative(layer)},
                      {"kept_update", layer.kept.fraction()}});
  return {{"max_logit_difference", logits.largest},
          {"mean_logit_difference", logits.mean},
          {"largest_logit", logits.largest_logit},
          {"same_best_token", logits.same_best_token},
          {"probe_tokens", logits.places},
          {"max_weight_error", all.largest},
          {"relative_weight_error", relative(all)},
          {"kept_update", all.kept.fraction()},
          {"layers", layers}};
}

std::string error_line(const LogitDifference& logits, const std::vector<TensorRounding>& weights) {
  const auto all = total(weights);
  return fmt::format("against base and adapter apart, in fp32, on {} probe tokens: logits differ by at most {:.2g}, {:.2g} on average "
                     "(largest logit {:.3g}), same best token in {:.1f}% of places; weights rounded by at most {:.2g}, {:.2g} of their size; {:.1f}% of the update kept",
                     logits.places, logits.largest, logits.mean, logits.largest_logit, 100 * logits.same_best_token, all.largest, relative(all),
                     100 * all.kept.fraction());
}

}  // namespace graft::pipelines
