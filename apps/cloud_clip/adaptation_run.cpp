#include "apps/cloud_clip/adaptation_run.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/log.h"
#include "peft_core/checkpoint/clip_files.h"
#include "pipelines/cloud/adaptation_task.h"
#include "pipelines/metrics_log.h"
#include "pipelines/metrics_recorder.h"
#include "pipelines/progress_bar.h"
#include "pipelines/run_dir.h"
#include "pipelines/train.h"

namespace graft::apps::cloud {
namespace {

using namespace pipelines;
using Json = nlohmann::ordered_json;

/// The model with what is to be trained around it. Members are made in this order and undone in the opposite one.
struct Learner {
  Learner(const Invocation& call, const AdaptationSettings& settings, const std::vector<std::string>& classes)
      : files(peft::open_clip(call.model)),
        model(files.config, *files.folder.weights, base_storage(settings.base, files.folder.weights->stored_dtype())),
        tokenizer(data::load_tokenizer(call.model)) {
    const auto seed = static_cast<uint64_t>(settings.train.seed);
    const auto encoder = text_encoder(*tokenizer, files.config);
    clip = std::make_unique<AdaptedClip>(model, encoder, classes, settings.cloud, seed);
    if (settings.method == nullptr) return;
    peft::AttachContext context(seed);
    context.token_ids = [this](const std::string& text) {
      const auto ids = tokenizer->encode(text);
      return std::vector<int64_t>(ids.begin(), ids.end());
    };
    attachment = settings.method->attach(model.places(), settings.method_node, context);
  }

  peft::ClipFiles files;
  peft::ClipModel model;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  std::unique_ptr<AdaptedClip> clip;
  std::unique_ptr<peft::Attachment> attachment;
};

std::string described(const CloudSet& set) {
  std::string text = std::to_string(set.size()) + " clouds";
  for (size_t i = 0; i < set.clouds.size(); ++i) {
    text.append(" ").append(set.clouds[i].source).append(":").append(std::to_string(set.clouds[i].size()));
    if (!set.labels.empty()) text.append(":").append(std::to_string(set.labels[i]));
  }
  return text;
}

/// Everything that a resumed run must share with the run that it continues, one `key=value` a line.
std::string run_fingerprint(const AdaptationSettings& settings, const Learner& learner, const AdaptationData& data, const std::string& kernels) {
  auto lasting = settings;
  lasting.train.save_every = lasting.train.evaluate_every = 0;
  std::string text = "model=" + learner.files.folder.fingerprint + "\nkernels=" + kernels + "\nsource=" + described(data.source) +
                     "\ntarget=" + described(data.target) + "\n";
  std::string section;
  std::istringstream lines(lasting.to_yaml());
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line[0] != ' ') section = line.substr(0, line.find(':'));
    else if (const auto colon = line.find(':'); colon != std::string::npos)
      text += section + "." + line.substr(line.find_first_not_of(' '), colon - line.find_first_not_of(' ')) + "=" + line.substr(colon + 1) + "\n";
  }
  return text;
}

void start_run_dir(const RunDir& run, const Invocation& call, const AdaptationSettings& settings, const Learner& learner, const AdaptationData& data,
                   AdaptationTask& task) {
  run.write_config(settings.to_yaml());
  run.write_manifest({.app = call.app, .command_line = call.command_line, .seed = settings.train.seed, .model = call.model, .data = data.files});
  run.note("base_fingerprint", learner.files.folder.fingerprint);
  run.note("classes", data.source.classes);
  run.note("source_clouds", data.source.size());
  run.note("source_up", data.source.up);
  if (data.target.size() > 0) run.note("target_clouds", data.target.size()), run.note("target_up", data.target.up);
  int64_t count = 0;
  for (const auto& group : task.trainable_parameters())
    for (const auto& [name, tensor] : group.parameters) count += tensor.numel();
  run.note("trainable_parameters", count);
}

/// Measures before training, once a run: a resumed run finds it in its folder.
Metrics measured_before(const RunDir& run, AdaptationTask& task) {
  const auto lines = read_evaluation_lines(run.path());
  if (run.resumed() && !lines.empty()) return lines.front().metrics;
  const auto metrics = task.evaluate();
  Json line = {{"step", 0}};
  for (const auto& [name, value] : metrics) line[name] = value;
  MetricsLog(run.path() / "evaluations.jsonl", 0).append(line);
  return metrics;
}

/// True if the target's predictions have become less sure: then the run folder gets the start again.
bool rolled_back(AdaptationTask& task, const Metrics& before, const Metrics& after, const RunDir& run) {
  const auto was = before.find("target_entropy"), is = after.find("target_entropy");
  if (was == before.end() || is == after.end() || is->second <= was->second) return false;
  log_warning("the target's mean entropy rose from " + std::to_string(was->second) + " to " + std::to_string(is->second) +
              " nats; the start is kept (run.rollback=false keeps what was learnt)");
  task.restore_start();
  task.save(run.path().string());
  return true;
}

Json as_json(const Metrics& metrics) {
  Json json = Json::object();
  for (const auto& [name, value] : metrics) json[name] = value;
  return json;
}

AdaptationOptions task_options(const Invocation& call, const AdaptationSettings& settings, const Learner& learner, const RunDir& run) {
  const auto& train = settings.train;
  return {.loss = settings.loss,
          .plan = {.batch_size = train.batch_size, .accumulation = train.accumulation, .epochs = train.epochs, .max_steps = train.max_steps,
                   .shuffle = train.shuffle, .seed = static_cast<uint64_t>(train.seed)},
          .augment = settings.run.augment,
          .balance = settings.run.balance,
          .scanned = settings.run.scanned,
          .origin = {.base_model = call.model, .base_fingerprint = learner.files.folder.fingerprint, .run_id = run.run_id(), .unknown_keys = ""}};
}

}  // namespace

void run_adaptation(const Invocation& call, AdaptationSettings settings, AdaptationData data) {
  Learner learner(call, settings, data.source.classes);
  const auto fingerprint = run_fingerprint(settings, learner, data, call.kernels);
  if (call.dry_run) return;
  const auto run = RunDir::open(call.out_dir, call.resume ? Opening::kResume : Opening::kStart);
  AdaptationTask task(*learner.clip, learner.attachment.get(), data.source, data.target, data.held_out, task_options(call, settings, learner, run));
  start_run_dir(run, call, settings, learner, data, task);
  const auto before = measured_before(run, task);

  auto options = train_options(settings.train, task.micro_steps_per_epoch());
  options.run_dir = run.path();
  options.resume = call.resume;
  options.fingerprint = fingerprint;
  MetricsRecorder recorder(run.path());
  TrainReport trained;
  {
    ProgressBar bar;
    trained = pipelines::train(task, options, {&recorder, &bar});
  }
  Json result = {{"run", run.path().string()}, {"run_id", run.run_id()}, {"steps", trained.steps}, {"loss", trained.last_loss},
                 {"interrupted", trained.interrupted}, {"loss_parts", as_json(task.loss_parts())}, {"before", as_json(before)}};
  if (!trained.interrupted) {
    const auto after = task.evaluate();
    recorder.on_evaluation(trained.steps, after);
    result["after"] = as_json(after);
    if (data.target.size() > 0) result["rolled_back"] = settings.run.rollback && rolled_back(task, before, after, run);
    write_json_file(run.path() / "summary.json", result);
  }
  *call.out << to_json_line(result) << "\n";
}

}  // namespace graft::apps::cloud
