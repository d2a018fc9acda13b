#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "pipelines/task.h"

namespace graft::pipelines {

enum class Schedule { kConstant, kLinear, kCosine };

/// How one function trains every task; 0 turns clipping, warm-up or decay off.
struct TrainOptions {
  int64_t total_steps = 0;      ///< optimizer steps of the whole run
  int64_t accumulation = 1;     ///< micro steps an optimizer step
  double learning_rate = 2e-4;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0.0;
  Schedule schedule = Schedule::kCosine;
  double warmup_ratio = 0.03;   ///< share of total_steps
  double clip_norm = 1.0;       ///< on the norm over all trainable parameters
  int64_t save_every = 0;       ///< steps between checkpoints; 0: only at the end
  int64_t evaluate_every = 0;   ///< steps between evaluations; 0: none inside the loop
  std::filesystem::path run_dir;
  bool resume = false;          ///< go on from run_dir's checkpoint, bit for bit
  std::string fingerprint;      ///< hash of all that must not change between a run and its resumption
};

struct StepRecord {
  int64_t step = 0;             ///< from 1
  int64_t total_steps = 0;
  double loss = 0;              ///< mean over the step's targets, nats
  double learning_rate = 0;
  double gradient_norm = 0;     ///< before clipping
  int64_t tokens = 0, targets = 0;
  double seconds = 0;           ///< wall time of this step
  double tokens_per_second = 0;
  int64_t peak_memory_bytes = 0;  ///< of the process, from the operating system
};

/// Watches a run: progress bar, metrics file, early information for a report.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  /// `first_step` is above 1 in a resumed run: what was recorded from that step on is to be dropped.
  virtual void on_start(int64_t first_step, int64_t total_steps) { (void)first_step, (void)total_steps; }
  virtual void on_step(const StepRecord&) {}
  virtual void on_evaluation(int64_t step, const Metrics&) { (void)step; }
};

struct TrainReport {
  int64_t steps = 0;
  double first_loss = 0, last_loss = 0;
  double seconds = 0;
  int64_t tokens = 0;
};

/// The only optimizer loop in the project.
/// Throws   NumericalError for a NaN or infinite loss (step, learning rate, last good checkpoint), for a trainable tensor that has no
///          gradient after the first step; InvalidArgument if a checkpoint's fingerprint differs.
TrainReport train(TrainTask& task, const TrainOptions& options, const std::vector<TrainObserver*>& observers = {});

}  // namespace graft::pipelines
