#include <nlohmann/json.hpp>

#include "apps/agri_tune/commands.h"
#include "apps/agri_tune/data_sets.h"
#include "apps/agri_tune/settings.h"
#include "apps/agri_tune/train_report.h"
#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/log.h"
#include "peft_core/methods/task_sequence.h"
#include "pipelines/device.h"
#include "pipelines/language/evaluation.h"
#include "pipelines/language/language_calibration.h"
#include "pipelines/language/language_task.h"
#include "pipelines/language/training_plan.h"
#include "pipelines/metrics_log.h"
#include "pipelines/metrics_recorder.h"
#include "pipelines/progress_bar.h"
#include "pipelines/progress_line.h"
#include "pipelines/run_dir.h"

namespace graft::apps::agri {
namespace {

using namespace pipelines;
using Json = nlohmann::ordered_json;

/// Puts the method to work on the base: a fresh one, or the adapter that training goes on from.
void attach_method(const Invocation& call, LanguageModel& language, const data::TokenSet& samples, Settings& settings) {
  if (!call.init_adapter.empty()) {
    const auto files = peft::read_adapter(call.init_adapter);
    language.attachment = peft::attach_adapter(files, language.model->places(), language.files.fingerprint,
                                               settings.base.accept_other, call.init_adapter);
    language.adapter_unknown_keys = files.unknown_keys;
    settings.method = files.method;
    const auto asked = std::exchange(settings.method_node, files.config);
    if (auto* sequence = dynamic_cast<peft::TaskSequence*>(language.attachment.get()))
      settings.method_node = sequence->begin_task(asked, static_cast<uint64_t>(settings.train.seed));
  } else {
    const LanguageCalibration calibration(*language.model, samples, settings.train.calibration_samples);
    peft::AttachContext context(static_cast<uint64_t>(settings.train.seed), &calibration);
    context.token_ids = [&](const std::string& text) {
      const auto ids = language.tokenizer->encode(text);
      return std::vector<int64_t>(ids.begin(), ids.end());
    };
    language.attachment = settings.method->attach(language.model->places(), settings.method_node, context);
  }
}

/// Lines `section.key=value`.
std::string flat(const ConfigNode& node, const std::string& key) {
  std::string text;
  for (const auto& [name, value] : node.entries) text += flat(value, key.empty() ? name : key + "." + name);
  if (node.kind == ConfigNode::Kind::kMap) return text;
  for (const auto& item : node.items) text += (text.empty() ? "" : " ") + item.scalar;
  return key + "=" + text + node.scalar + "\n";
}

/// Everything that a resumed run must share with the run that it continues, one `key=value` a line.
std::string run_fingerprint(const Settings& settings, const LanguageModel& language, const DataSets& sets, const std::string& kernels) {
  std::string text = "model=" + language.files.fingerprint + "\nkernels=" + kernels + "\n";
  for (size_t i = 0; i < sets.files.size(); ++i) text += "data file " + std::to_string(i + 1) + "=" + sets.files[i].sha256 + "\n";
  auto lasting = settings;
  lasting.train.save_every = lasting.train.evaluate_every = 0;
  lasting.data.cache = true;
  lasting.train.second_packing = Switch::kAuto;  // the same bits either way
  return text + flat(ConfigNode::parse(lasting.to_yaml(), "settings"), "");
}

LanguageTaskOptions task_options(const Settings& settings, const TrainingPlan& plan, const Invocation& call,
                                 const LanguageModel& language, const std::string& run_id) {
  const auto& train = settings.train;
  return {.plan = {.batch_size = train.batch_size, .accumulation = train.accumulation, .epochs = train.epochs,
                   .max_steps = train.max_steps, .shuffle = train.shuffle, .seed = static_cast<uint64_t>(train.seed)},
          .packing = train.packing,
          .max_length = train.max_length,
          .checkpointing = plan.checkpointing,
          .lora_plus_ratio = train.lora_plus_ratio,
          .origin = {.base_model = call.model, .base_fingerprint = language.files.fingerprint, .run_id = run_id,
                     .unknown_keys = language.adapter_unknown_keys}};
}

/// Held-out loss before training, once a run: a resumed run finds it in its folder.
void evaluate_before(const RunDir& run, LanguageTask& task, const TrainReportMaker& report) {
  if (run.resumed() && !read_evaluation_lines(run.path()).empty()) return;
  const auto metrics = task.evaluate();
  if (metrics.empty()) return;
  Json line = {{"step", 0}};
  for (const auto& [name, value] : metrics) line[name] = value;
  report.answer_samples(TrainReportMaker::When::kBefore);
  MetricsLog(run.path() / "evaluations.jsonl", 0).append(line);
}

void print_result(const Invocation& call, const RunDir& run, const TrainReport& trained, const Metrics& before, const Metrics& after) {
  Json result = {{"run", run.path().string()}, {"run_id", run.run_id()}, {"steps", trained.steps}, {"loss", trained.last_loss},
                 {"interrupted", trained.interrupted}};
  if (!after.empty())
    result["held_out"] = {{"loss_before", before.at("held_out_loss")}, {"loss_after", after.at("held_out_loss")}};
  *call.out << to_json_line(result) << "\n";
}

Metrics first_evaluation(const RunDir& run) {
  const auto lines = read_evaluation_lines(run.path());
  return lines.empty() ? Metrics{} : lines.front().metrics;
}

/// What was measured after `step`, if anything was: by train.evaluate_every, or before this call went on with a finished run.
Metrics recorded_evaluation(const RunDir& run, int64_t step) {
  const auto lines = read_evaluation_lines(run.path());
  return !lines.empty() && lines.back().step == step ? lines.back().metrics : Metrics{};
}

void start_run_dir(const RunDir& run, const Invocation& call, const Settings& settings, const LanguageModel& language,
                   const DataSets& sets) {
  run.write_config(settings.to_yaml());
  RunFacts facts{.app = call.app, .command_line = call.command_line, .seed = settings.train.seed, .model = call.model, .data = {},
                 .device = language.model->device().str()};
  for (const auto& file : sets.files) facts.data.push_back(file.path);
  run.write_manifest(facts);
  run.note("base_fingerprint", language.files.fingerprint);
  std::vector<std::string> hashes;
  for (const auto& file : sets.files) hashes.push_back(file.sha256);
  run.note("data_sha256", hashes);
  run.note("compute", at::toString(language.model->storage().compute));
  run.note("trainable_parameters", trainable_parameter_count(*language.attachment));
}

}  // namespace

void train(const Invocation& call) {
  const auto device = device_for(call.kernels);
  auto settings = read_settings(call);
  auto language = load_language_model(call.model, settings.base);
  const auto sets = read_data_sets(call.data, call.eval_data, settings.data, static_cast<uint64_t>(settings.train.seed));
  const auto encoding = TextEncoding::of(language, settings.data, sets.train);
  auto [samples, samples_of, fit] = encode_records(*language.tokenizer, encoding, sets.train, settings.train.max_length);
  auto held_out = encode_records(*language.tokenizer, encoding, sets.held_out, settings.train.max_length).samples;
  log_fit(fit);
  attach_method(call, language, samples, settings);
  language.move_to(device);

  const auto plan = plan_training(language, samples, settings.train);
  log_info(plan.text);
  refuse_if_too_large(plan);
  choose_packings(language, plan);
  if (call.dry_run) return;

  const auto run = RunDir::open(call.out_dir, call.resume ? Opening::kResume : Opening::kStart);
  start_run_dir(run, call, settings, language, sets);
  LanguageTask task(language, std::move(samples), std::move(held_out),
                    task_options(settings, plan, call, language, run.run_id()));
  const TrainReportMaker report(run, call, settings, language, encoding, sets);
  evaluate_before(run, task, report);

  auto options = train_options(settings.train, task.micro_steps_per_epoch());
  options.run_dir = run.path();
  options.resume = call.resume;
  options.fingerprint = run_fingerprint(settings, language, sets, call.kernels);
  MetricsRecorder recorder(run.path());
  TrainReport trained;
  {
    ProgressBar bar;
    trained = pipelines::train(task, options, {&recorder, &bar});
  }
  Metrics after;
  if (!trained.interrupted) {
    after = recorded_evaluation(run, trained.steps);
    if (after.empty() && !(after = task.evaluate()).empty()) recorder.on_evaluation(trained.steps, after);
    report.answer_samples(TrainReportMaker::When::kAfter);
    report.write(trained);
  }
  print_result(call, run, trained, first_evaluation(run), after);
}

}  // namespace graft::apps::agri
