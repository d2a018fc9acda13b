#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "apps/cloud_clip/commands.h"
#include "data_loaders/text/clip_tokenizer_writer.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/log.h"
#include "peft_core/memory/block_cache.h"
#include "pipelines/cloud/pretrain_task.h"
#include "pipelines/cloud/shapes/shapes.h"
#include "pipelines/metrics_recorder.h"
#include "pipelines/progress_bar.h"
#include "pipelines/run_dir.h"

namespace graft::apps::cloud {
namespace {

using namespace pipelines;

struct ThreadConfig {
  int64_t threads = 0;

  template <class V>
  void visit(V& v) {
    v("threads", threads, "processor threads; 0: all that the machine has");
  }
};

struct PretrainSettings {
  SmallClipConfig model;
  ShapesConfig shapes;
  PretrainConfig train;
  ThreadConfig run;

  std::string to_yaml() const {
    return write_config(model, "model") + write_config(shapes, "shapes") + write_config(train, "train") + write_config(run, "run");
  }
};

PretrainSettings read_pretrain_settings(const Invocation& call) {
  expect_sections(call.config, {"model", "shapes", "train", "run"});
  PretrainSettings settings{read_config<SmallClipConfig>(call.config, "model"), read_config<ShapesConfig>(call.config, "shapes"),
                            read_config<PretrainConfig>(call.config, "train"), read_config<ThreadConfig>(call.config, "run")};
  validate(settings.model), validate(settings.shapes), validate(settings.train);
  expect_range("run.threads", static_cast<double>(settings.run.threads), 0, 4096);
  if (settings.run.threads > 0) at::set_num_threads(static_cast<int>(settings.run.threads));
  peft::use_block_cache();
  return settings;
}

/// Lines `section.key=value`.
std::string as_lines(const ConfigNode& node, const std::string& key) {
  std::string text;
  for (const auto& [name, value] : node.entries) text += as_lines(value, key.empty() ? name : key + "." + name);
  return node.kind == ConfigNode::Kind::kMap ? text : key + "=" + node.scalar + "\n";
}

/// Everything that a resumed run must share with the run that it continues, one `key=value` a line.
std::string run_fingerprint(const PretrainSettings& settings, const std::string& kernels) {
  auto lasting = settings;
  lasting.train.save_every = lasting.train.evaluate_every = 0;
  lasting.run.threads = 0;
  return "kernels=" + kernels + "\n" + as_lines(ConfigNode::parse(lasting.to_yaml(), "settings"), "");
}

SmallClip start_model(const PretrainSettings& settings, const data::Tokenizer& tokenizer) {
  SmallClip clip(clip_config(settings.model, tokenizer.vocabulary_size(), *tokenizer.specials().eos), static_cast<uint64_t>(settings.train.seed));
  log_info("image tower " + std::to_string(clip.parameter_count("vision_model.")) + " parameters, text tower " +
           std::to_string(clip.parameter_count("text_model.")) + ", " + std::to_string(clip.parameter_count()) + " in all");
  return clip;
}

}  // namespace

std::string pretrain_settings_help() {
  return config_help<SmallClipConfig>("model") + config_help<ShapesConfig>("shapes") + config_help<PretrainConfig>("train") + config_help<ThreadConfig>("run");
}

void pretrain(const Invocation& call) {
  const auto settings = read_pretrain_settings(call);
  const auto run = RunDir::open(call.out_dir, call.resume ? Opening::kResume : Opening::kStart);
  run.write_config(settings.to_yaml());
  run.write_manifest({.app = call.app, .command_line = call.command_line, .seed = settings.train.seed, .model = {}, .data = {}});
  data::write_small_clip_tokenizer(run.path(), caption_words(), settings.model.positions);
  const auto tokenizer = data::load_tokenizer(run.path());
  auto clip = start_model(settings, *tokenizer);
  run.note("trainable_parameters", clip.parameter_count());

  PretrainTask task(clip, tokenizer, settings.shapes, settings.train);
  auto options = train_options(settings.train);
  options.run_dir = run.path(), options.resume = call.resume, options.fingerprint = run_fingerprint(settings, call.kernels);
  MetricsRecorder recorder(run.path());
  TrainReport trained;
  {
    ProgressBar bar;
    trained = train(task, options, {&recorder, &bar});
  }
  nlohmann::ordered_json result = {{"model", run.path().string()}, {"run_id", run.run_id()}, {"steps", trained.steps}, {"loss", trained.last_loss},
                                   {"seconds", trained.seconds}, {"interrupted", trained.interrupted}};
  if (!trained.interrupted) {
    const auto metrics = task.evaluate();
    recorder.on_evaluation(trained.steps, metrics);
    for (const auto& [name, value] : metrics) result[name] = value;
  }
  *call.out << to_json_line(result) << "\n";
}

}  // namespace graft::apps::cloud
