#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/agri_tune/commands.h"
#include "apps/agri_tune/data_sets.h"
#include "apps/agri_tune/settings.h"
#include "data_loaders/text/record_writer.h"
#include "peft_core/base/json_files.h"
#include "pipelines/language/text_samples.h"

namespace graft::apps::agri {
namespace {

using namespace pipelines;
using Json = nlohmann::ordered_json;

/// How long the records are for a model: what max_length must hold.
Json token_statistics(const Invocation& call, const Settings& settings, const std::vector<data::Record>& records) {
  LanguageModel language;
  language.tokenizer = data::load_tokenizer(call.model);
  const auto encoding = TextEncoding::of(language, settings.data, records);
  std::vector<int64_t> lengths;
  int64_t total = 0;
  for (const auto& record : records) {
    lengths.push_back(static_cast<int64_t>(encode_record(*language.tokenizer, encoding, record).ids.size()));
    total += lengths.back();
  }
  if (lengths.empty()) return Json::object();
  std::sort(lengths.begin(), lengths.end());
  return {{"tokens", total}, {"mean", static_cast<double>(total) / static_cast<double>(lengths.size())},
          {"p95", lengths[lengths.size() * 95 / 100]}, {"longest", lengths.back()}};
}

}  // namespace

void prepare(const Invocation& call) {
  const auto settings = read_settings(call);
  const auto sets = read_data_sets(call.data, call.eval_data, settings.data, static_cast<uint64_t>(settings.train.seed));
  const auto format = call.format == "alpaca" ? data::RecordFormat::kAlpaca : data::RecordFormat::kOpenAi;
  std::filesystem::create_directories(call.out_dir);
  const std::filesystem::path folder = call.out_dir;
  data::write_records(folder / "train.jsonl", sets.train, format);
  if (!sets.held_out.empty()) data::write_records(folder / "heldout.jsonl", sets.held_out, format);

  Json report = {{"out", call.out_dir}, {"train_rows", sets.train.size()}, {"held_out_rows", sets.held_out.size()}};
  for (const auto& [label, value] : sets.findings.counts) report["findings"][label] = value;
  report["problems"] = sets.findings.problems;
  if (!call.model.empty()) report["train_tokens"] = token_statistics(call, settings, sets.train);
  write_json_file(folder / "report.json", report);
  *call.out << to_json_line(report) << "\n";
}

}  // namespace graft::apps::agri
