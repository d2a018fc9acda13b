#pragma once

#include <cstdint>
#include <string>

#include "peft_core/base/config.h"
#include "pipelines/optimizer_kind.h"
#include "pipelines/schedule.h"

namespace graft::pipelines {

struct TrainOptions;

/// What the sections `train` of all runs have in common.
struct TrainConfig {
  int64_t max_steps = 0;
  double epochs = 1;
  int64_t batch_size = 4;
  int64_t accumulation = 1;
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double learning_rate = 2e-4;
  double momentum = 0.9;
  double weight_decay = 0;
  Schedule schedule = Schedule::kCosine;
  double warmup_ratio = 0.03;
  double clip_norm = 1;
  int64_t seed = 42;
  bool shuffle = true;
  int64_t save_every = 0;
  int64_t evaluate_every = 0;

  template <class V>
  void visit(V& v) {
    v("max_steps", max_steps, "optimizer steps; 0: as many as `epochs` gives");
    v("epochs", epochs, "passes over the training data, if max_steps is 0; parts of one are allowed");
    v("batch_size", batch_size, "samples in one micro step");
    v("accumulation", accumulation, "micro steps whose gradients one optimizer step adds up");
    v("optimizer", optimizer, "adamw, or sgd: with momentum, which wants a higher learning rate and needs half the memory for its state");
    v("learning_rate", learning_rate, "highest learning rate, reached after the warm-up");
    v("momentum", momentum, "of sgd; 0: none");
    v("weight_decay", weight_decay, "decay of adapter matrices, decoupled with adamw and part of the gradient with sgd; 0: off");
    v("schedule", schedule, "constant, linear or cosine: how the learning rate goes on after the warm-up");
    v("warmup_ratio", warmup_ratio, "share of the steps over which the learning rate rises from 0; 0: off");
    v("clip_norm", clip_norm, "largest norm of the gradient over all trainable tensors; 0: off");
    v("seed", seed, "of the adapter's start, dropout and the order of the data");
    v("shuffle", shuffle, "a different order of the data in each epoch");
    v("save_every", save_every, "steps between saved states; 0: every 50 steps or two minutes, whichever is sooner");
    v("evaluate_every", evaluate_every, "steps between evaluations while training; 0: none");
  }
};

/// Throws InvalidArgument for the first value outside its range; `section` is the key of the struct in messages.
void validate(const TrainConfig& config, const std::string& section = "train");

/// Optimizer steps of the whole run: max_steps, or epochs * micro_steps_per_epoch / accumulation rounded up.
/// Throws InvalidArgument if there is no data for a single step.
int64_t total_steps(const TrainConfig& config, int64_t micro_steps_per_epoch);

/// What train() needs of it; run_dir, resume and fingerprint are left to the caller.
TrainOptions train_options(const TrainConfig& config, int64_t micro_steps_per_epoch);

}  // namespace graft::pipelines
