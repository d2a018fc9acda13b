#include "pipelines/train_config.h"

#include <cmath>
#include <limits>

#include "kernels/base/error.h"
#include "pipelines/train.h"

namespace graft::pipelines {
namespace {

constexpr double kMany = 1e12;  // a bound that only a slip of the pen exceeds

}  // namespace

void validate(const TrainConfig& config, const std::string& section) {
  const auto key = [&](const char* name) { return section + "." + name; };
  const auto whole = [&](const char* name, int64_t value, double low) {
    expect_range(key(name), static_cast<double>(value), low, kMany);
  };
  whole("max_steps", config.max_steps, 0);
  expect_range(key("epochs"), config.epochs, config.max_steps > 0 ? 0 : 1e-6, 1e6);
  whole("batch_size", config.batch_size, 1);
  whole("accumulation", config.accumulation, 1);
  // No other bound: a rate that is too high shows as a loss that is no number, and that error tells where to go on.
  expect_range(key("learning_rate"), config.learning_rate, 0, std::numeric_limits<float>::max());
  expect_range(key("momentum"), config.momentum, 0, 0.9999);
  expect_range(key("weight_decay"), config.weight_decay, 0, 10);
  expect_range(key("warmup_ratio"), config.warmup_ratio, 0, 1);
  expect_range(key("clip_norm"), config.clip_norm, 0, kMany);
  whole("seed", config.seed, 0);
  whole("save_every", config.save_every, 0);
  whole("evaluate_every", config.evaluate_every, 0);
}

int64_t total_steps(const TrainConfig& config, int64_t micro_steps_per_epoch) {
  if (config.max_steps > 0) return config.max_steps;
  const double micro_steps = config.epochs * static_cast<double>(micro_steps_per_epoch);
  const auto steps = static_cast<int64_t>(std::ceil(micro_steps / static_cast<double>(config.accumulation)));
  if (steps < 1) throw InvalidArgument({.where = "data", .what = "gives not a single training step"});
  return steps;
}

TrainOptions train_options(const TrainConfig& config, int64_t micro_steps_per_epoch) {
  return {.total_steps = total_steps(config, micro_steps_per_epoch),
          .accumulation = config.accumulation,
          .optimizer = config.optimizer,
          .learning_rate = config.learning_rate,
          .momentum = config.momentum,
          .weight_decay = config.weight_decay,
          .schedule = config.schedule,
          .warmup_ratio = config.warmup_ratio,
          .clip_norm = config.clip_norm,
          .save_every = config.save_every,
          .evaluate_every = config.evaluate_every};
}

}  // namespace graft::pipelines
