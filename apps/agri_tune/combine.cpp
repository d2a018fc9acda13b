#include <nlohmann/json.hpp>

#include "apps/agri_tune/chosen_adapters.h"
#include "apps/agri_tune/commands.h"
#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/checkpoint/low_rank_files.h"
#include "peft_core/checkpoint/staged_folder.h"
#include "peft_core/operations/combination.h"

namespace graft::apps::agri {
namespace {

using namespace pipelines;
using Json = nlohmann::ordered_json;

const std::string kMixture = "mixture";

std::vector<peft::AdapterFiles> read_all(const std::vector<peft::MixturePart>& parts) {
  std::vector<peft::AdapterFiles> all;
  for (const auto& part : parts) all.push_back(peft::read_adapter(part.folder));
  return all;
}

/// The hash of the model that all of them were made for, as far as they say.
std::string common_base(const std::vector<peft::AdapterFiles>& adapters, bool accept_other) {
  std::string base;
  for (const auto& files : adapters) {
    if (files.base_fingerprint.empty() || files.base_fingerprint == base) continue;
    if (!base.empty() && !accept_other)
      throw InvalidArgument({.where = "combine", .what = "these adapters were made for different base models",
                             .expected = "a base with hash " + base.substr(0, 12), .got = files.base_fingerprint.substr(0, 12),
                             .hint = "--set base.accept_other=true combines them all the same"});
    if (base.empty()) base = files.base_fingerprint;
  }
  return base;
}

std::string base_model_of(const std::filesystem::path& folder) {
  const auto config = read_json_file(folder / "adapter_config.json");
  const auto found = config.find("base_model_name_or_path");
  return found != config.end() && found->is_string() ? found->get<std::string>() : "";
}

peft::CombinationOptions options_of(const Invocation& call, const Settings& settings) {
  peft::CombinationOptions options{.how = peft::combination(call.combination), .seed = static_cast<uint64_t>(settings.train.seed)};
  if (call.rank && *call.rank < 1) throw InvalidArgument({.where = "--rank", .what = "is below 1", .got = std::to_string(*call.rank)});
  const bool by_svd = call.combination.ends_with("svd");
  if (call.rank && !by_svd)
    throw InvalidArgument({.where = "--rank", .what = "is decided by the adapters for " + call.combination, .expected = "one of the svd combinations"});
  const bool prunes = call.combination.starts_with("ties") || call.combination.starts_with("dare") || call.combination.starts_with("magnitude");
  if (prunes != call.density.has_value())
    throw InvalidArgument({.where = "--density", .what = prunes ? "is missing" : "means nothing to " + call.combination,
                           .expected = "the share of values to keep, for ties, dare and magnitude_prune"});
  if (!call.majority_sign.empty() && call.combination.find("ties") == std::string::npos)
    throw InvalidArgument({.where = "--majority-sign", .what = "means nothing to " + call.combination, .expected = "one of the ties combinations"});
  options.rank = call.rank.value_or(0);
  options.density = call.density.value_or(1);
  if (!call.majority_sign.empty()) options.majority = peft::majority_sign(call.majority_sign);
  return options;
}

Json combine_into_one(const Invocation& call, const std::vector<peft::MixturePart>& parts, const Settings& settings, const std::filesystem::path& folder) {
  const auto options = options_of(call, settings);
  const auto files = read_all(parts);
  const auto base = common_base(files, settings.base.accept_other);
  std::vector<peft::LowRankUpdates> updates;
  std::vector<double> weights;
  for (size_t i = 0; i < parts.size(); ++i) {
    updates.push_back(peft::low_rank_updates(files[i], parts[i].folder.string()));
    weights.push_back(parts[i].weight);
  }
  const auto result = peft::combined(updates, weights, options);
  peft::write_low_rank(folder, result, peft::common_targets(files), {.base_model = base_model_of(parts.front().folder), .base_fingerprint = base});
  int64_t largest = 0;
  for (const auto& layer : result) largest = std::max(largest, layer.update.a.size(0));
  return {{"layers", result.size()}, {"rank", largest}};
}

/// The files as they are, beside the list of them: what no operation touches needs no model.
Json keep_side_by_side(const std::vector<peft::MixturePart>& parts, const Settings& settings, const std::filesystem::path& folder) {
  (void)common_base(read_all(parts), settings.base.accept_other);
  peft::write_mixture(folder, parts);
  return {{"adapter_count", parts.size()}};
}

}  // namespace

std::vector<std::string> combination_choices() {
  auto names = peft::combination_names();
  names.push_back(kMixture);
  return names;
}

void combine(const Invocation& call) {
  const auto settings = read_settings(call);
  const auto parts = chosen_adapters(call);
  if (call.combination == kMixture && (call.rank || call.density || !call.majority_sign.empty()))
    throw InvalidArgument({.where = "--combination mixture", .what = "keeps the adapters as they are", .hint = "leave --rank, --density and --majority-sign out"});
  peft::StagedFolder folder(call.out_dir);
  const auto made = call.combination == kMixture ? keep_side_by_side(parts, settings, folder.path())
                                                 : combine_into_one(call, parts, settings, folder.path());
  folder.commit();
  Json adapters = Json::array();
  for (const auto& part : parts) adapters.push_back({{"name", part.name}, {"folder", part.folder.string()}, {"weight", part.weight}});
  Json report = {{"out", call.out_dir}, {"combination", call.combination}, {"adapters", adapters}};
  report.update(made);
  *call.out << to_json_line(report) << "\n";
}

}  // namespace graft::apps::agri
