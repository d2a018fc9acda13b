#include "tests/pipelines/toy_task.h"

#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <sstream>

#include "peft_core/base/files.h"

namespace graft::testing {
namespace {

/// Values in [-1, 1] from a formula, without a random stream.
at::Tensor wave(int64_t rows, int64_t columns, double phase) {
  return at::sin(at::arange(rows * columns, at::kFloat) * 12.9898 + phase).reshape({rows, columns});
}

}  // namespace

ToyTask::ToyTask(int64_t width, int64_t rows, at::Device device)
    : first_(wave(width, 4, 0.5).to(device)), second_(at::zeros({1, width}).to(device)), frozen_(wave(4, 4, 2.0).to(device)), rows_(rows) {
  first_.requires_grad_(true);
  second_.requires_grad_(true);
}

pipelines::MicroStep ToyTask::accumulate_gradients(int64_t step, int64_t micro, double loss_scale) {
  if (before_micro) before_micro(step, micro);
  const auto x = at::matmul(wave(rows_, 4, static_cast<double>(step * 31 + micro * 7)).to(frozen_.device()), frozen_);  // (rows, 4)
  const auto goal = at::sin(x.sum(1, true) * 0.7) + 0.3;                                           // (rows, 1)
  const auto guess = at::matmul(at::tanh(at::matmul(x, first_.t())), second_.t());
  const auto loss = (guess - goal).square().sum();
  (loss * loss_scale).backward();
  return {.loss_sum = loss.item<double>(), .target_count = rows_, .token_count = rows_ * 4};
}

std::vector<pipelines::ParameterGroup> ToyTask::trainable_parameters() {
  return {
      {.name = "first", .parameters = {{"layer.first", first_}}},
      {.name = "second", .parameters = {{"layer.second", second_}}, .learning_rate_factor = 2, .weight_decay = false}};
}

pipelines::Metrics ToyTask::evaluate() { return {{"size", second_.norm().item<double>()}}; }

void ToyTask::save(const std::string& run_dir) {
  ++saves_;
  write_file_atomically(std::filesystem::path(run_dir) / "adapter.txt", std::to_string(second_.norm().item<double>()));
}

pipelines::TrainOptions toy_options(const std::filesystem::path& run_dir, int64_t total_steps) {
  return {.total_steps = total_steps,
          .accumulation = 2,
          .learning_rate = 0.02,
          .weight_decay = 0.01,
          .schedule = pipelines::Schedule::kCosine,
          .warmup_ratio = 0,
          .clip_norm = 1,
          .save_every = 3,
          .evaluate_every = 4,
          .run_dir = run_dir,
          .fingerprint = "data=abc\nseed=1"};
}

void ExactLog::on_start(int64_t first_step, int64_t) {
  if (file_.empty() || !std::filesystem::exists(file_)) return;
  std::istringstream old(first_step > 1 ? read_file(file_) : "");
  std::string kept;
  for (std::string line; std::getline(old, line);) {
    if (std::stoll(line) >= first_step) continue;
    kept += line + "\n";
    lines.push_back(line);
  }
  write_file_atomically(file_, kept);
}

void ExactLog::on_step(const pipelines::StepRecord& record) {
  char line[256];
  std::snprintf(line, sizeof line, "%lld loss %a rate %a norm %a targets %lld", static_cast<long long>(record.step),
                record.loss, record.learning_rate, record.gradient_norm, static_cast<long long>(record.targets));
  lines.emplace_back(line);
  records.push_back(record);
  if (file_.empty()) return;
  // One write call a line: a killed process leaves whole lines.
  const int fd = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const auto text = lines.back() + "\n";
  if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  ::close(fd);
}

void ExactLog::on_evaluation(int64_t step, const pipelines::Metrics&) { evaluated.push_back(step); }

std::vector<std::string> undisturbed_lines(int64_t width, int64_t total_steps) {
  ToyTask task(width);
  ExactLog log;
  pipelines::train(task, toy_options({}, total_steps), {&log});
  return log.lines;
}

}  // namespace graft::testing
