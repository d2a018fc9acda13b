#include <nlohmann/json.hpp>

#include "apps/agri_tune/chosen_adapters.h"
#include "apps/agri_tune/commands.h"
#include "apps/agri_tune/data_sets.h"
#include "apps/agri_tune/settings.h"
#include "peft_core/base/json_files.h"
#include "pipelines/device.h"
#include "pipelines/language/evaluation.h"
#include "pipelines/run_dir.h"

namespace graft::apps::agri {

using namespace pipelines;

void eval(const Invocation& call) {
  const auto device = device_for(call.kernels);
  const auto settings = read_settings(call);
  auto language = load_language_model(call.model, settings.base);
  load_chosen_adapters(language, call, settings);
  language.move_to(device);
  const auto read = data::read_records(call.data, read_options(settings.data));
  const auto encoding = TextEncoding::of(language, settings.data, read.records);

  const auto run = RunDir::open(call.out_dir, Opening::kStart);
  run.write_config(settings.to_yaml());
  RunFacts facts{.app = call.app, .command_line = call.command_line, .seed = settings.train.seed, .model = call.model, .data = {},
                 .device = device.str()};
  for (const auto& file : read.report.files) facts.data.push_back(file.path);
  run.write_manifest(facts);

  const EvaluationOptions options{.max_length = settings.train.max_length, .max_new_tokens = call.max_new_tokens.value_or(128),
                                  .seed = static_cast<uint64_t>(settings.train.seed), .adapters = adapters_of_rows(language, read.records)};
  auto result = call.task == "perplexity" ? evaluate_perplexity(language, encoding, read.records, options)
                : call.task == "choice"   ? evaluate_choice(language, encoding, read.records, options)
                                          : evaluate_answers(language, encoding, read.records, options);
  auto& summary = result.summary();
  summary["model"] = call.model;
  summary["adapter"] = call.adapter;
  if (language.mixture != nullptr) summary["adapters"] = language.mixture->names();
  summary["bad_rows"] = read.report.bad_row_count();
  summary["run_id"] = run.run_id();
  write_json_lines(run.path() / "predictions.jsonl", result.predictions());
  write_json_file(run.path() / "summary.json", summary);
  *call.out << to_json_line(summary) << "\n";
}

}  // namespace graft::apps::agri
