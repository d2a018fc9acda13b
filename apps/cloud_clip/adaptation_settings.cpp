#include "apps/cloud_clip/adaptation_settings.h"

#include <ATen/Parallel.h>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"

namespace graft::apps::cloud {
namespace {

using namespace pipelines;

const std::vector<std::string> kSections = {"base", "cloud", "method", "loss", "train", "data", "target", "input", "run"};

using Defaults = std::vector<std::pair<std::string, std::string>>;

ConfigNode with_defaults(ConfigNode config, const Defaults& defaults) {
  for (const auto& [key, value] : defaults)
    if (config.find(key) == nullptr) config.set(key, value, "default of cloud_clip");
  return config;
}

/// What suits a few clouds better than a few thousand texts; and, where there is a target, what mode ours adds to the published losses.
ConfigNode with_cloud_defaults(ConfigNode config, bool has_target) {
  config = with_defaults(std::move(config), {{"train.batch_size", "16"}, {"train.epochs", "20"}, {"train.learning_rate", has_target ? "3e-4" : "1e-3"}});
  if (read_config<CloudConfig>(config, "cloud").mode != CloudMode::kOurs) return config;
  config = with_defaults(std::move(config), {{"cloud.prompts", "none"}});
  return has_target ? with_defaults(std::move(config), {{"loss.ce", "0.3"}, {"loss.diversity", "1"}, {"run.scanned", "0.5"}})
                    : with_defaults(std::move(config), {{"loss.confidence", "0"}});
}

/// CLIPoint3D's places: what attention puts out and both layers of the feed-forward block.
std::string targets_of(Part towers) {
  const std::string layers = "(out_proj|fc1|fc2)'";
  if (towers == Part::kVision) return "['vision_model\\..*" + layers + "]";
  if (towers == Part::kText) return "['text_model\\..*" + layers + "]";
  return "['.*" + layers + "]";
}

void choose_method(AdaptationSettings& settings, const ConfigNode& config) {
  if (const auto* node = config.find("method")) settings.method_node = *node;
  if (settings.cloud.towers == Part::kNone) return;
  const auto* name = settings.method_node.find_entry("name");
  settings.method = &peft::find_method(name == nullptr ? "lora" : name->scalar);
  const bool has_targets = settings.method->resolved(settings.method_node).find("targets:") != std::string::npos;
  if (has_targets && settings.method_node.find_entry("targets") == nullptr) {
    settings.method_node.kind = ConfigNode::Kind::kMap;
    settings.method_node.set("targets", targets_of(settings.cloud.towers), "cloud.towers");
  }
  (void)settings.method->resolved(settings.method_node);
}

}  // namespace

std::string AdaptationSettings::to_yaml() const {
  return write_config(base, "base") + write_config(cloud, "cloud") + (method == nullptr ? "" : method->resolved(method_node)) + write_config(loss, "loss") +
         write_config(train, "train") + write_config(data, "data") + write_config(target, "target") +
         write_config(preparation, "input") + write_config(run, "run");
}

AdaptationSettings read_adaptation_settings(const Invocation& call) {
  expect_sections(call.config, kSections);
  const auto config = with_cloud_defaults(call.config, !call.source.empty());
  AdaptationSettings settings;
  settings.base = read_config<BaseConfig>(config, "base");
  settings.cloud = read_config<CloudConfig>(config, "cloud");
  settings.loss = read_config<LossConfig>(config, "loss");
  settings.train = read_config<TrainConfig>(config, "train");
  settings.data = read_config<FolderConfig>(config, "data");
  settings.target = read_config<FolderConfig>(config, "target");
  settings.preparation = read_config<data::PreparationSettings>(config, "input");
  settings.run = read_config<RunConfig>(config, "run");
  choose_method(settings, config);
  pipelines::validate(settings.cloud);
  pipelines::validate(settings.loss);
  pipelines::validate(settings.train);
  if (settings.method == nullptr && settings.cloud.prompts == Part::kNone && settings.cloud.head == CloudHead::kNone)
    throw InvalidArgument({.where = "cloud", .what = "leaves nothing to train: towers, prompts and head are all none"});
  expect_range("run.scanned", settings.run.scanned, 0, 1);
  expect_range("run.threads", static_cast<double>(settings.run.threads), 0, 4096);
  if (settings.run.threads > 0) at::set_num_threads(static_cast<int>(settings.run.threads));
  return settings;
}

std::string adaptation_settings_help(bool has_target) {
  const auto defaults = with_cloud_defaults(ConfigNode::parse("{}", "defaults"), has_target);
  const auto section = [&]<class T>(const char* name, T) { return config_help(read_config<T>(defaults, name), name); };
  return section("base", BaseConfig{}) + section("cloud", CloudConfig{}) + section("loss", LossConfig{}) + section("train", TrainConfig{}) +
         section("data", FolderConfig{}) + (has_target ? section("target", FolderConfig{}) : "") + section("input", data::PreparationSettings{}) +
         section("run", RunConfig{}) + peft::find_method("lora").resolved(ConfigNode::parse("{}", "defaults"));
}

}  // namespace graft::apps::cloud
