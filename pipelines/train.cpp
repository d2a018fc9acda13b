#include "pipelines/train.h"

#include <ATen/Parallel.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <exception>
#include <memory>
#include <optional>

#include "kernels/base/error.h"
#include "peft_core/base/log.h"
#include "peft_core/base/memory_figures.h"
#include "pipelines/frozen_audit.h"
#include "pipelines/optimizer.h"
#include "pipelines/resume.h"
#include "pipelines/sgd.h"
#include "pipelines/stop_signal.h"

namespace graft::pipelines {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kSaveSteps = 50;
constexpr double kSaveSeconds = 120;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// LibTorch's include folder shadows the system's fmt with another version, so text is put together here without it.
template <class... Parts>
std::string text(const Parts&... parts) {
  const auto part_text = [](const auto& part) -> std::string {
    using Part = std::decay_t<decltype(part)>;
    if constexpr (std::is_arithmetic_v<Part>) {
      char digits[64];
      const auto end =
          std::to_chars(digits, digits + sizeof digits, part).ptr;  // shortest form that reads back exactly
      return {digits, end};
    } else {
      return part;
    }
  };
  return (part_text(parts) + ...);
}

std::unique_ptr<Optimizer> make_optimizer(const std::vector<ParameterGroup>& groups, const TrainOptions& o) {
  if (o.optimizer == OptimizerKind::kSgd) return std::make_unique<Sgd>(groups, SgdOptions{.momentum = o.momentum, .weight_decay = o.weight_decay});
  return std::make_unique<AdamW>(groups, AdamWOptions{o.beta1, o.beta2, o.epsilon, o.weight_decay});
}

/// What decides the numbers of a run, beside what the caller knows. Not the total: a run may be made longer.
std::string full_fingerprint(const TrainOptions& o) {
  // AdamW goes unnamed, as in the states of runs from before there was a choice.
  const auto optimizer = o.optimizer == OptimizerKind::kSgd ? text("optimizer=sgd\nmomentum=", o.momentum, "\n") : std::string();
  return text(optimizer, "accumulation=", o.accumulation, "\nlearning_rate=", o.learning_rate, "\nbetas=", o.beta1, " ", o.beta2,
              "\nepsilon=", o.epsilon, "\nweight_decay=", o.weight_decay, "\nschedule=", enum_name(o.schedule),
              "\nwarmup_ratio=", o.warmup_ratio, "\nclip_norm=", o.clip_norm, "\n", o.fingerprint);
}

void check_options(const TrainOptions& options) {
  const auto expect = [](bool condition, const char* where, const char* expected) {
    if (!condition) throw InvalidArgument({.where = where, .what = "is out of range", .expected = expected});
  };
  expect(options.total_steps >= 1, "total_steps", "at least 1");
  expect(options.accumulation >= 1, "accumulation", "at least 1");
  expect(options.learning_rate >= 0, "learning_rate", "0 or more");
  expect(options.momentum >= 0 && options.momentum < 1, "momentum", "0 or more, below 1");
  expect(options.warmup_ratio >= 0 && options.warmup_ratio <= 1, "warmup_ratio", "0 to 1");
  expect(options.clip_norm >= 0, "clip_norm", "0 (off) or more");
  expect(options.save_every >= 0 && options.evaluate_every >= 0, "save_every, evaluate_every", "0 or more");
}

class Loop {
 public:
  Loop(TrainTask& task, const TrainOptions& options, const std::vector<TrainObserver*>& observers)
      : task_(task),
        options_(options),
        observers_(observers),
        fingerprint_(full_fingerprint(options)),
        warmup_(warmup_steps(options.warmup_ratio, options.total_steps)),
        optimizer_(make_optimizer(task.trainable_parameters(), options)),
        frozen_(task.frozen_tensors()) {}

  TrainReport run();

 private:
  void start();
  void take_step(int64_t step);
  MicroStep accumulate(int64_t step, double learning_rate);
  void audit_gradients(int64_t step);
  void evaluate_if_due();
  bool save_is_due() const;
  void save_state();
  void save_on_the_way();
  void finish(const char* signal);
  [[noreturn]] void fail_numbers(const std::string& what, double value, double learning_rate) const;

  TrainTask& task_;
  const TrainOptions& options_;
  const std::vector<TrainObserver*>& observers_;
  const std::string fingerprint_;
  const int64_t warmup_;
  const std::unique_ptr<Optimizer> optimizer_;
  const FrozenAudit frozen_;
  TrainProgress progress_;
  TrainReport report_;
  int64_t saved_step_ = -1;  // of the state on disk
  Clock::time_point saved_at_ = Clock::now();
};

TrainReport Loop::run() {
  const auto start_time = Clock::now();
  const StopSignal stop;
  start();
  while (progress_.step < options_.total_steps && stop.received() == nullptr) {
    take_step(progress_.step);
    evaluate_if_due();
    if (save_is_due()) save_on_the_way();
  }
  finish(stop.received());
  report_.steps = progress_.step;
  report_.first_loss = progress_.first_loss;
  report_.last_loss = progress_.last_loss;
  report_.seconds = seconds_since(start_time);
  return report_;
}

void Loop::start() {
  const int threads = at::get_num_threads();
  task_.begin(options_.total_steps);
  std::optional<TrainProgress> saved;
  if (!options_.run_dir.empty()) {
    prepare_checkpoint_dir(options_.run_dir, options_.resume);
    if (options_.resume) saved = load_checkpoint(options_.run_dir, fingerprint_, *optimizer_, task_.start_tensors());
  }
  if (saved) {
    progress_ = *saved;
    saved_step_ = saved->step;
    log_info(text("resumed after step ", saved->step, " of ", options_.total_steps));
    if (saved->total_steps != options_.total_steps) {
      log_warning(text("the run was planned for ", saved->total_steps, " steps and now has ", options_.total_steps,
                       "; the learning rate follows the new plan"));
    }
    if (saved->threads != threads) {
      log_warning(text("the run used ", saved->threads, " threads and now has ", threads,
                       "; numbers may differ in their last digits"));
    }
  } else if (options_.resume) {
    log_info("no saved state in " + options_.run_dir.string() + "; starting from the beginning");
  }
  progress_.total_steps = options_.total_steps;
  progress_.threads = threads;
  progress_.fingerprint = fingerprint_;
  report_.first_step = progress_.step + 1;
  for (auto* observer : observers_) observer->on_start(report_.first_step, options_.total_steps);
}

void Loop::take_step(int64_t step) {
  const auto start_time = Clock::now();
  const double learning_rate =
      options_.learning_rate * schedule_factor(options_.schedule, step, warmup_, options_.total_steps);
  const auto sums = accumulate(step, learning_rate);
  optimizer_->collect_gradients();
  audit_gradients(step);
  const double norm = optimizer_->gradient_norm();
  if (!std::isfinite(norm)) fail_numbers("the gradient's norm", norm, learning_rate);
  const double gradient_scale = clip_factor(norm, options_.clip_norm);
  task_.before_step(step, gradient_scale);
  optimizer_->update(learning_rate, gradient_scale);
  if (task_.after_step(step)) optimizer_->rebuild(task_.trainable_parameters());
  if (step < report_.first_step + 1) frozen_.verify(text("step ", step + 1));

  StepRecord record{.step = step + 1,
                    .total_steps = options_.total_steps,
                    .loss = sums.loss_sum / static_cast<double>(sums.target_count),
                    .learning_rate = learning_rate,
                    .gradient_norm = norm,
                    .tokens = sums.token_count,
                    .targets = sums.target_count};
  record.peak_memory_bytes = peak_resident_bytes();
  record.seconds = seconds_since(start_time);
  record.tokens_per_second = static_cast<double>(record.tokens) / record.seconds;
  progress_.step = record.step;
  progress_.last_loss = record.loss;
  if (step == 0) progress_.first_loss = record.loss;
  report_.tokens += record.tokens;
  for (auto* observer : observers_) observer->on_step(record);
}

MicroStep Loop::accumulate(int64_t step, double learning_rate) {
  int64_t targets = 0;
  for (int64_t micro = 0; micro < options_.accumulation; ++micro) targets += task_.target_count(step, micro);
  if (targets <= 0) {
    throw InvalidArgument({.where = text("step ", step + 1),
                           .what = "has no token that the loss covers",
                           .hint = "drop samples whose answer lies beyond train.max_length, or raise it"});
  }
  MicroStep sums;
  for (int64_t micro = 0; micro < options_.accumulation; ++micro) {
    const auto part = task_.accumulate_gradients(step, micro, 1.0 / static_cast<double>(targets));
    sums.loss_sum += part.loss_sum;
    sums.target_count += part.target_count;
    sums.token_count += part.token_count;
    if (!std::isfinite(part.loss_sum)) fail_numbers("the loss", part.loss_sum, learning_rate);
  }
  GRAFT_ASSERT(sums.target_count == targets);
  return sums;
}

void Loop::audit_gradients(int64_t step) {
  const int64_t taken = step + 1 - report_.first_step;  // updates in this process so far
  if (taken == 0) {
    const auto names = optimizer_->without_gradient();
    if (!names.empty()) {
      throw NumericalError({.where = text("step ", step + 1),
                            .what = "trainable tensors got no gradient: " + name_some(names),
                            .hint = "they take no part in the loss; leave them out of the method's targets"});
    }
  }
  if (!options_.require_nonzero_gradients || task_.parts_may_rest()) return;
  const auto names = optimizer_->with_zero_gradients_only();
  if (!names.empty()) {
    throw NumericalError({.where = text("step ", step + 1),
                          .what = "the gradient of trainable tensors stays zero: " + name_some(names),
                          .hint = "they do not change the loss; leave them out of the method's targets"});
  }
}

void Loop::evaluate_if_due() {
  if (options_.evaluate_every == 0 || progress_.step % options_.evaluate_every != 0) return;
  const auto metrics = task_.evaluate();
  for (auto* observer : observers_) observer->on_evaluation(progress_.step, metrics);
}

bool Loop::save_is_due() const {
  if (options_.run_dir.empty() || progress_.step == options_.total_steps) return false;  // the end saves in its own way
  if (options_.save_every > 0) return progress_.step % options_.save_every == 0;
  return progress_.step % kSaveSteps == 0 || seconds_since(saved_at_) >= kSaveSeconds;
}

void Loop::save_state() {
  save_checkpoint(options_.run_dir, progress_, *optimizer_, task_.start_tensors());
  saved_step_ = progress_.step;
  saved_at_ = Clock::now();
}

void Loop::save_on_the_way() {
  try {
    save_state();
  } catch (const IoError& error) {
    saved_at_ = Clock::now();  // the next try comes at its own time and not at every step
    log_warning(text("step ", progress_.step, ": the state could not be saved and training goes on: ", error.what()));
  }
}

void Loop::finish(const char* signal) {
  report_.interrupted = signal != nullptr && progress_.step < options_.total_steps;
  frozen_.verify(text("step ", progress_.step));
  if (options_.run_dir.empty()) return;
  std::exception_ptr failure;
  try {
    if (saved_step_ != progress_.step) save_state();
  } catch (const IoError&) {
    failure = std::current_exception();  // the adapter is smaller and may still fit
  }
  task_.save(options_.run_dir.string());
  if (failure) std::rethrow_exception(failure);
  if (report_.interrupted) {
    log_info(text("stopped by ", signal, " after step ", progress_.step, " of ", options_.total_steps,
                  "; the state is saved, --resume goes on from here"));
  }
}

void Loop::fail_numbers(const std::string& what, double value, double learning_rate) const {
  const std::string good = saved_step_ >= 0 ? text("last good checkpoint: step ", saved_step_, " in ",
                                                   checkpoint_file(options_.run_dir).string())
                                            : "no checkpoint was saved before it";
  throw NumericalError({.where = text("step ", progress_.step + 1),
                        .what = what + (std::isnan(value) ? " is nan" : " is infinite") + text(" at learning rate ", learning_rate),
                        .hint = good + "; try a lower train.learning_rate or a longer warm-up"});
}

}  // namespace

TrainReport train(TrainTask& task, const TrainOptions& options, const std::vector<TrainObserver*>& observers) {
  check_options(options);
  return Loop(task, options, observers).run();
}

}  // namespace graft::pipelines
