#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/agri_tune/commands.h"
#include "apps/agri_tune/data_sets.h"
#include "apps/agri_tune/settings.h"
#include "data_loaders/text/duplicates.h"
#include "data_loaders/text/record_writer.h"
#include "kernels/base/error.h"
#include "peft_core/base/log.h"
#include "peft_core/base/json_files.h"
#include "pipelines/language/text_samples.h"
#include "pipelines/language/training_plan.h"

namespace graft::apps::agri {
namespace {

using namespace pipelines;
using Json = nlohmann::ordered_json;

/// Tokenised as `train` will do it, for which it stays in the cache.
Json token_statistics(const Invocation& call, const Settings& settings, const DataSets& sets) {
  LanguageModel language;
  language.tokenizer = data::load_tokenizer(call.model);
  language.files.path = call.model;
  const auto encoding = TextEncoding::of(language, settings.data, sets.train);
  const auto encoded = encode_records(*language.tokenizer, encoding, sets.train, settings.train.max_length);
  encode_records(*language.tokenizer, encoding, sets.held_out, settings.train.max_length);
  log_fit(encoded.fit);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < encoded.samples.size(); ++i) lengths.push_back(encoded.samples.length(i));
  if (lengths.empty()) return Json::object();
  std::sort(lengths.begin(), lengths.end());
  const auto tokens = encoded.samples.token_count();
  return {{"samples", lengths.size()}, {"tokens", tokens}, {"mean", static_cast<double>(tokens) / static_cast<double>(lengths.size())},
          {"p95", lengths[lengths.size() * 95 / 100]}, {"longest", lengths.back()}, {"max_length", settings.train.max_length},
          {"cut", encoded.fit.truncated}, {"dropped", encoded.fit.dropped}};
}

/// Near duplicates stay unless the settings say otherwise, but a person should know of them.
int64_t near_duplicates_kept(const Settings& settings, const DataSets& sets) {
  if (settings.data.deduplicate == "near") return 0;
  auto found = data::find_duplicates(sets.train);
  std::erase_if(found, [](const auto& duplicate) { return duplicate.likeness == data::Likeness::kExact; });
  if (!found.empty())
    log_warning(std::to_string(found.size()) + " near duplicates are kept, e.g. " +
                data::place_of(sets.train[static_cast<size_t>(found[0].index)]) + " and " +
                data::place_of(sets.train[static_cast<size_t>(found[0].of)]) + "; --set data.deduplicate=near drops them");
  return static_cast<int64_t>(found.size());
}

Json report_of(const Invocation& call, const Settings& settings, const DataSets& sets) {
  Json report = {{"out", call.out_dir}, {"train_rows", sets.train.size()}, {"held_out_rows", sets.held_out.size()}, {"files", Json::array()}};
  for (const auto& file : sets.files)
    report["files"].push_back({{"path", file.path}, {"format", file.format}, {"rows", file.rows}, {"bad_rows", file.bad_rows}, {"sha256", file.sha256}});
  const auto& found = sets.found;
  report["found"] = {{"rows", found.rows}, {"bad_rows", found.bad_rows}, {"exact_duplicates", found.exact_duplicates},
                     {"near_duplicates", found.near_duplicates}, {"near_duplicates_kept", near_duplicates_kept(settings, sets)},
                     {"overlaps_with_held_out", found.overlaps}};
  report["problems"] = sets.findings.problems;
  return report;
}

/// A user's own data must not be written over.
void refuse_inputs_as_outputs(const std::vector<std::filesystem::path>& outputs, const DataSets& sets) {
  std::error_code ignored;
  for (const auto& output : outputs)
    for (const auto& input : sets.files)
      if (std::filesystem::equivalent(output, input.path, ignored))
        throw InvalidArgument({.where = "--out", .what = "holds a file that is read here: " + input.path, .hint = "name another folder"});
}

}  // namespace

void prepare(const Invocation& call) {
  const auto settings = read_settings(call);
  const auto sets = read_data_sets(call.data, call.eval_data, settings.data, static_cast<uint64_t>(settings.train.seed));
  const auto format = call.format == "alpaca" ? data::RecordFormat::kAlpaca : data::RecordFormat::kOpenAi;
  const std::filesystem::path folder = call.out_dir, train_file = folder / "train.jsonl", held_out_file = folder / "heldout.jsonl";
  refuse_inputs_as_outputs({train_file, held_out_file}, sets);
  std::filesystem::create_directories(folder);
  data::write_records(train_file, sets.train, format);
  if (sets.held_out.empty()) std::filesystem::remove(held_out_file);  // of an earlier run, which would not belong to this one
  if (!sets.held_out.empty()) data::write_records(held_out_file, sets.held_out, format);

  auto report = report_of(call, settings, sets);
  if (!call.model.empty()) report["train_tokens"] = token_statistics(call, settings, sets);
  write_json_file(folder / "report.json", report);
  *call.out << to_json_line(report) << "\n";
}

}  // namespace graft::apps::agri
