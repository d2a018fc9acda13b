#include "peft_core/checkpoint/low_rank_files.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/methods/low_rank/lora_family.h"

namespace graft::peft {
namespace {

const std::string kA = ".lora_A.weight", kB = ".lora_B.weight";

/// Numbers inside names compare as numbers: layer 10 comes after layer 2.
bool natural_less(const std::string& x, const std::string& y) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  size_t i = 0, j = 0;
  while (i < x.size() && j < y.size()) {
    if (is_digit(x[i]) && is_digit(y[j])) {
      const auto i_end = std::find_if_not(x.begin() + static_cast<long>(i), x.end(), is_digit) - x.begin();
      const auto j_end = std::find_if_not(y.begin() + static_cast<long>(j), y.end(), is_digit) - y.begin();
      const auto left = x.substr(i, static_cast<size_t>(i_end) - i), right = y.substr(j, static_cast<size_t>(j_end) - j);
      if (left != right) return left.size() != right.size() ? left.size() < right.size() : left < right;
      i = static_cast<size_t>(i_end), j = static_cast<size_t>(j_end);
    } else {
      if (x[i] != y[j]) return x[i] < y[j];
      ++i, ++j;
    }
  }
  return x.size() - i < y.size() - j;
}

void expect_plain_lora(const AdapterFiles& files, const std::string& where) {
  if (files.method->name != "lora")
    throw InvalidArgument({.where = where, .what = "is an adapter of method '" + files.method->name + "'", .expected = "lora",
                           .hint = "convert it into a LoRA first"});
  if (!files.saved_modules.empty())
    throw InvalidArgument({.where = where, .what = "saves the whole parameter '" + files.saved_modules.begin()->first + "' beside its updates",
                           .expected = "low-rank updates alone"});
}

void expect_fit(const std::string& layer, const LowRankUpdate& update, const std::string& where) {
  const bool fits = update.a.defined() && update.b.defined() && update.a.dim() == 2 && update.b.dim() == 2 && update.a.size(0) == update.b.size(1) &&
                    update.a.size(0) > 0;
  if (!fits) throw InvalidArgument({.where = where, .what = "holds no A and B of layer " + layer + " that fit each other"});
}

/// The rank that most layers have.
int64_t commonest_rank(const LowRankUpdates& updates) {
  std::map<int64_t, int64_t> counts;
  for (const auto& layer : updates) ++counts[layer.update.a.size(0)];
  return std::max_element(counts.begin(), counts.end(), [](const auto& x, const auto& y) { return x.second < y.second; })->first;
}

bool is_ending(const std::string& target) { return target != "all-linear" && target.find_first_of("*+?()[]{}|\\^$.") == std::string::npos; }

}  // namespace

LowRankUpdates low_rank_updates(const AdapterFiles& files, const std::string& where) {
  expect_plain_lora(files, where);
  const auto config = read_config<LoraConfig>(files.config);
  std::map<std::string, LowRankUpdate, decltype(&natural_less)> layers(&natural_less);
  for (const auto& [name, tensor] : files.tensors) {
    if (!name.ends_with(kA) && !name.ends_with(kB)) throw InvalidArgument({.where = where, .what = "holds '" + name + "', which is no factor of a LoRA"});
    auto& update = layers[name.substr(0, name.size() - kA.size())];
    (name.ends_with(kA) ? update.a : update.b) = tensor.to(at::kFloat);
  }
  LowRankUpdates updates;
  for (auto& [layer, update] : layers) {
    expect_fit(layer, update, where);
    update.scale = lora_scale(config, layer, update.a.size(0));
    updates.push_back({layer, update});
  }
  if (updates.empty()) throw InvalidArgument({.where = where, .what = "holds no updates"});
  return updates;
}

void write_low_rank(const std::filesystem::path& folder, const LowRankUpdates& updates, const std::vector<std::string>& targets,
                    const AdapterOrigin& origin) {
  GRAFT_ASSERT(!updates.empty());
  const auto rank = commonest_rank(updates);
  AdapterState state;
  auto other_ranks = nlohmann::json::object();
  std::vector<std::string> names;
  for (const auto& [layer, update] : updates) {
    state[layer + kA] = update.a.contiguous();
    state[layer + kB] = update.scale == 1 ? update.b.contiguous() : update.b * update.scale;
    if (update.a.size(0) != rank) other_ranks[layer] = update.a.size(0);
    names.push_back(layer);
  }
  const nlohmann::json config = {{"peft_type", "LORA"}, {"r", rank}, {"lora_alpha", rank}, {"lora_dropout", 0.0}, {"target_modules", targets.empty() ? names : targets},
                                 {"use_rslora", false}, {"rank_pattern", other_ranks}, {"alpha_pattern", other_ranks}, {"bias", "none"},
                                 {"fan_in_fan_out", false}, {"init_lora_weights", true}, {"modules_to_save", nullptr}, {"use_dora", false}};
  write_adapter(folder, state, config, origin);
}

std::vector<std::string> common_targets(const std::vector<AdapterFiles>& adapters) {
  std::set<std::string> endings;
  for (const auto& files : adapters) {
    const auto choice = read_config<LoraConfig>(files.config).choice;
    if (!choice.exclude.empty() || !choice.layers.empty() || !std::all_of(choice.targets.begin(), choice.targets.end(), is_ending)) return {};
    endings.insert(choice.targets.begin(), choice.targets.end());
  }
  return {endings.begin(), endings.end()};
}

}  // namespace graft::peft
