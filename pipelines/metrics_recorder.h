#pragma once

#include <filesystem>
#include <memory>

#include "pipelines/metrics_log.h"
#include "pipelines/train.h"

namespace graft::pipelines {

/// Writes run_dir/metrics.jsonl (a line a step) and run_dir/evaluations.jsonl (a line an evaluation).
class MetricsRecorder : public TrainObserver {
 public:
  explicit MetricsRecorder(std::filesystem::path run_dir) : run_dir_(std::move(run_dir)) {}
  void on_start(int64_t first_step, int64_t total_steps) override;
  void on_step(const StepRecord& record) override;
  void on_evaluation(int64_t step, const Metrics& metrics) override;

 private:
  std::filesystem::path run_dir_;
  std::unique_ptr<MetricsLog> steps_, evaluations_;
};

}  // namespace graft::pipelines
