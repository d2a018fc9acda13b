#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace graft::pipelines {

/// A file of JSON lines that grows while a run goes on. Each line goes to the operating system at once, so that it can be watched,
/// and a kill loses no finished step.
class MetricsLog {
 public:
  /// Keeps the lines whose "step" is below `first_step`, drops the others (and a broken last line) atomically, and goes on behind.
  MetricsLog(const std::filesystem::path& file, int64_t first_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  /// A full disk costs the line and one warning, not the run: training can go on, and the file stays whole.
  void append(const nlohmann::ordered_json& line);

 private:
  std::filesystem::path file_;
  int descriptor_ = -1;
  bool warned_ = false;
};

/// One line of metrics.jsonl.
struct StepLine {
  int64_t step = 0;
  double loss = 0, learning_rate = 0, tokens_per_second = 0;
  int64_t peak_memory_bytes = 0;
  double seconds = 0;
};

/// One line of evaluations.jsonl: what was measured after a step; step 0 is before training.
struct EvaluationLine {
  int64_t step = 0;
  std::map<std::string, double> metrics;
};

/// Lines that are broken are left out; a missing file is an empty list.
std::vector<StepLine> read_step_lines(const std::filesystem::path& run_dir);
std::vector<EvaluationLine> read_evaluation_lines(const std::filesystem::path& run_dir);

}  // namespace graft::pipelines
