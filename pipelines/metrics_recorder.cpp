#include "pipelines/metrics_recorder.h"

#include <limits>
#include <nlohmann/json.hpp>

namespace graft::pipelines {

void MetricsRecorder::on_start(int64_t first_step, int64_t /*total_steps*/) {
  steps_ = std::make_unique<MetricsLog>(run_dir_ / "metrics.jsonl", first_step);
  evaluations_ = std::make_unique<MetricsLog>(run_dir_ / "evaluations.jsonl", first_step);
}

void MetricsRecorder::on_step(const StepRecord& record) {
  steps_->append({{"step", record.step},
                  {"loss", record.loss},
                  {"learning_rate", record.learning_rate},
                  {"gradient_norm", record.gradient_norm},
                  {"tokens", record.tokens},
                  {"targets", record.targets},
                  {"seconds", record.seconds},
                  {"tokens_per_second", record.tokens_per_second},
                  {"peak_memory_bytes", record.peak_memory_bytes}});
}

void MetricsRecorder::on_evaluation(int64_t step, const Metrics& metrics) {
  if (!evaluations_) {  // measured before training starts
    evaluations_ = std::make_unique<MetricsLog>(run_dir_ / "evaluations.jsonl", std::numeric_limits<int64_t>::max());
  }
  nlohmann::ordered_json line = {{"step", step}};
  for (const auto& [name, value] : metrics) line[name] = value;
  evaluations_->append(line);
}

}  // namespace graft::pipelines
