#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "pipelines/train.h"

namespace graft::testing {

/// Fits a two-layer network to a fixed smooth function; data depend on (step, micro) alone. `width` sets the size of
/// the state. The second matrix starts at zero, as B of LoRA does, so that the first one has a gradient of zeros at
/// first.
class ToyTask : public pipelines::TrainTask {
 public:
  explicit ToyTask(int64_t width = 16, int64_t rows = 8, at::Device device = at::kCPU);

  int64_t target_count(int64_t, int64_t) override { return rows_; }
  pipelines::MicroStep accumulate_gradients(int64_t step, int64_t micro, double loss_scale) override;
  std::vector<pipelines::ParameterGroup> trainable_parameters() override;
  std::vector<pipelines::FrozenTensor> frozen_tensors() override { return {{"frozen", frozen_}}; }
  pipelines::Metrics evaluate() override;
  void save(const std::string& run_dir) override;

  std::function<void(int64_t step, int64_t micro)> before_micro;  ///< where a test lets something happen
  at::Tensor first_, second_, frozen_;                            // (width, 4), (1, width), (4, 4)
  int saves_ = 0;

 private:
  int64_t rows_;
};

/// Options that all tests start from: short run, no warm-up.
pipelines::TrainOptions toy_options(const std::filesystem::path& run_dir = {}, int64_t total_steps = 12);

/// All numbers of all steps as exact text, one line a step, in memory and, if a file is named, there too; drops on
/// resumption what lies beyond the checkpoint.
class ExactLog : public pipelines::TrainObserver {
 public:
  explicit ExactLog(std::filesystem::path file = {}) : file_(std::move(file)) {}
  void on_start(int64_t first_step, int64_t total_steps) override;
  void on_step(const pipelines::StepRecord& record) override;
  void on_evaluation(int64_t step, const pipelines::Metrics& metrics) override;

  std::vector<std::string> lines;
  std::vector<pipelines::StepRecord> records;
  std::vector<int64_t> evaluated;

 private:
  std::filesystem::path file_;
};

/// The lines that an undisturbed run writes.
std::vector<std::string> undisturbed_lines(int64_t width, int64_t total_steps);

}  // namespace graft::testing
