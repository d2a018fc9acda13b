#pragma once

#include <optional>

#include "pipelines/progress_line.h"
#include "pipelines/train.h"

namespace graft::pipelines {

/// Shows how a run goes on: a redrawn line if stderr is a terminal, else a log line at the first and last step and every half minute.
class ProgressBar : public TrainObserver {
 public:
  struct Options {
    bool redraw = false;
    LineStyle style;                  ///< `columns` is 0: ask the terminal each time
    double seconds_between_lines = 30;
  };

  /// Looks at stderr, the locale and NO_COLOR.
  static Options for_stderr();

  explicit ProgressBar(const Options& options = for_stderr()) : options_(options) {}
  /// Leaves the last state on the screen as an ordinary line.
  ~ProgressBar() override;
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void on_start(int64_t first_step, int64_t total_steps) override;
  void on_step(const StepRecord& record) override;
  void on_evaluation(int64_t step, const Metrics& metrics) override;

 private:
  std::string line() const;

  Options options_;
  Progress progress_;
  std::optional<double> seconds_per_step_;  ///< running mean, recent steps count more
  double seconds_since_shown_ = 0;
  bool shown_ = false;
};

}  // namespace graft::pipelines
