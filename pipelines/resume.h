#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "pipelines/optimizer.h"

namespace graft::pipelines {

/// Where a run stands, beside its tensors. The observers' position is `step`: what they recorded beyond it is dropped
/// on resumption.
struct TrainProgress {
  int64_t step = 0;         ///< completed optimizer steps
  int64_t total_steps = 0;  ///< planned when the state was saved
  int threads = 0;          ///< numbers repeat bit for bit only with the same count
  double first_loss = 0, last_loss = 0;
  std::string fingerprint;  ///< lines `key=value`
};

/// run_dir/checkpoint/state.safetensors
std::filesystem::path checkpoint_file(const std::filesystem::path& run_dir);

/// Makes the folder and removes temporary files that a killed run left. A run that starts anew moves an older state
/// aside to checkpoint/state.previous.safetensors, so that a later resumption cannot take it for its own.
void prepare_checkpoint_dir(const std::filesystem::path& run_dir, bool resume);

using StartTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Writes parameters, moments, what TrainTask::start_tensors() gives and progress as one file, atomically: at any moment the old state or the whole of the new
/// one is there.
/// Throws   IoError, for instance for a full disk; the old state stays.
void save_checkpoint(const std::filesystem::path& run_dir, const TrainProgress& progress, Optimizer& optimizer,
                     const StartTensors& start = {});

/// Puts a saved state back into the optimizer and its parameters; nothing if no state was saved. Changes nothing if it
/// throws.
/// Throws   InvalidArgument if the fingerprint differs, naming what does, or if the tensors are others; IoError for a
///          damaged file.
std::optional<TrainProgress> load_checkpoint(const std::filesystem::path& run_dir, const std::string& fingerprint,
                                             Optimizer& optimizer, const StartTensors& start = {});

}  // namespace graft::pipelines
