#include "apps/cloud_clip/zero_shot_settings.h"

#include <ATen/Parallel.h>

#include "peft_core/base/config.h"

namespace graft::apps::cloud {
namespace {

// `train` is there because --seed writes train.seed.
const std::vector<std::string> kSections = {"base", "input", "zero_shot", "predict", "scene", "data", "run", "train"};

void check(const ZeroShotSettings& settings) {
  pipelines::check(settings.zero_shot.prompts, "zero_shot");
  (void)data::up_axis_named(settings.input.preparation.up);
  expect_range("input.mesh_points", static_cast<double>(settings.input.mesh_points), 1, 1e7);
  expect_range("predict.none_below", settings.predict.none_below, 0, 1);
  expect_range("predict.none_above_entropy", settings.predict.none_above_entropy, 0, 100);
  expect_range("predict.top", static_cast<double>(settings.predict.top), 1, 1e6);
  expect_range("predict.batch", static_cast<double>(settings.predict.batch), 1, 4096);
  expect_range("predict.shown", static_cast<double>(settings.predict.shown), 0, 1000);
  expect_range("predict.points_shown", static_cast<double>(settings.predict.points_shown), 1, 1e6);
  expect_range("run.threads", static_cast<double>(settings.run.threads), 0, 4096);
}

}  // namespace

std::string ZeroShotSettings::to_yaml() const {
  return write_config(base, "base") + write_config(input, "input") + write_config(zero_shot, "zero_shot") + write_config(predict, "predict") +
         write_config(scene, "scene") + write_config(data, "data") + write_config(run, "run");
}

ZeroShotSettings read_zero_shot_settings(const pipelines::Invocation& call) {
  expect_sections(call.config, kSections);
  ZeroShotSettings settings{.base = read_config<pipelines::BaseConfig>(call.config, "base"),
                            .input = read_config<InputConfig>(call.config, "input"), .zero_shot = read_config<ZeroShotConfig>(call.config, "zero_shot"),
                            .predict = read_config<PredictConfig>(call.config, "predict"), .scene = read_config<SceneConfig>(call.config, "scene"),
                            .data = read_config<FolderConfig>(call.config, "data"), .run = read_config<ZeroShotRunConfig>(call.config, "run")};
  if (call.seed) settings.run.seed = *call.seed;
  check(settings);
  if (settings.run.threads > 0) at::set_num_threads(static_cast<int>(settings.run.threads));
  return settings;
}

std::string zero_shot_settings_help() {
  return config_help<pipelines::BaseConfig>("base") + config_help<InputConfig>("input") + config_help<ZeroShotConfig>("zero_shot") +
         config_help<PredictConfig>("predict") + config_help<SceneConfig>("scene") + config_help<FolderConfig>("data") +
         config_help<ZeroShotRunConfig>("run");
}

}  // namespace graft::apps::cloud
