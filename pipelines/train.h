#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "pipelines/optimizer_kind.h"
#include "pipelines/schedule.h"
#include "pipelines/task.h"

namespace graft::pipelines {

/// How one function trains every task; 0 turns clipping, warm-up or decay off.
struct TrainOptions {
  int64_t total_steps = 0;   ///< optimizer steps of the whole run
  int64_t accumulation = 1;  ///< micro steps an optimizer step
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double learning_rate = 2e-4;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  ///< AdamW's
  double momentum = 0.9;                              ///< SGD's
  double weight_decay = 0.0;
  Schedule schedule = Schedule::kCosine;
  double warmup_ratio = 0.03;  ///< share of total_steps
  double clip_norm = 1.0;      ///< on the norm over all trainable parameters
  int64_t save_every = 0;      ///< steps between checkpoints; 0: every 50 steps, or sooner when two minutes have passed
  int64_t evaluate_every = 0;  ///< steps between evaluations; 0: none inside the loop
  std::filesystem::path run_dir;  ///< empty: nothing is saved
  bool resume = false;            ///< go on from run_dir's checkpoint, bit for bit
  /// What must not change between a run and its resumption. Lines `key=value` let the error name what differs.
  std::string fingerprint;
  /// Fail if a trainable tensor's gradient stays all zero once its first update has had its effect. Off only for
  /// methods with parts that may rest for a while (routed experts).
  bool require_nonzero_gradients = true;
};

struct StepRecord {
  int64_t step = 0;  ///< from 1
  int64_t total_steps = 0;
  double loss = 0;  ///< mean over the step's targets, nats
  double learning_rate = 0;
  double gradient_norm = 0;  ///< before clipping
  int64_t tokens = 0, targets = 0;
  double seconds = 0;  ///< wall time of this step
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
  int64_t first_step = 1;    ///< first step of this call, from 1; above 1 in a resumed run
  int64_t steps = 0;         ///< last completed step of the run, from 1
  bool interrupted = false;  ///< stopped by SIGINT or SIGTERM; the checkpoint and the task's files are saved
  double first_loss = 0, last_loss = 0;
  double seconds = 0;
  int64_t tokens = 0;
};

/// The only optimizer loop in the project.
///
/// One step: the gradients of all micro steps, each divided by the number of loss targets of the whole step; clipping
/// by the global norm; AdamW or SGD; then observers, evaluation and checkpoint, in this order, so that a checkpoint never
/// hides a record.
/// Saves     run_dir/checkpoint/state.safetensors while it runs and at the end (it stays, so that a run can be made
///           longer), and task.save(run_dir) at the end. SIGINT and SIGTERM finish the step, save and return; a second
///           signal ends at once.
/// Resume    goes on from the checkpoint bit for bit, with the same thread count; without one it starts from the
///           beginning.
/// Throws    NumericalError for a NaN or infinite loss or gradient norm (step, learning rate, last good checkpoint),
///           for trainable tensors that get no gradient, for a frozen tensor that changed; InvalidArgument if a
///           checkpoint belongs to another run; IoError if the last save fails (an earlier one that fails is a warning,
///           and the checkpoint before it stays).
TrainReport train(TrainTask& task, const TrainOptions& options, const std::vector<TrainObserver*>& observers = {});

}  // namespace graft::pipelines
