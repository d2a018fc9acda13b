#include "pipelines/progress_bar.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "peft_core/base/log.h"

namespace graft::pipelines {
namespace {

constexpr double kWeightOfThisStep = 0.1;
constexpr double kSecondsBetweenDrawings = 0.1;

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool locale_is_unicode() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const auto value = environment(name);
    if (!value.empty()) return value.find("UTF-8") != value.npos || value.find("utf8") != value.npos;
  }
  return false;
}

int terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void blend(double& mean, double value) { mean += kWeightOfThisStep * (value - mean); }

}  // namespace

ProgressBar::Options ProgressBar::for_stderr() {
  const bool terminal = ::isatty(STDERR_FILENO) != 0 && environment("TERM") != "dumb";
  return {.redraw = terminal,
          .style = {.columns = 0, .unicode = locale_is_unicode(), .color = terminal && environment("NO_COLOR").empty()}};
}

ProgressBar::~ProgressBar() {
  if (!options_.redraw || !shown_) return;
  set_status_line("");
  log_info(line());
}

std::string ProgressBar::line() const {
  if (!options_.redraw) return progress_text_line(progress_);
  auto style = options_.style;
  if (style.columns == 0) style.columns = terminal_columns();
  return progress_bar_line(progress_, style);
}

void ProgressBar::on_start(int64_t first_step, int64_t total_steps) {
  progress_ = {.step = first_step - 1, .total_steps = total_steps};
  if (first_step > 1) log_info(fmt::format("going on after step {} of {}", first_step - 1, total_steps));
}

void ProgressBar::on_step(const StepRecord& record) {
  progress_.step = record.step;
  progress_.total_steps = record.total_steps;
  progress_.loss = record.loss;
  progress_.memory_bytes = record.peak_memory_bytes;
  if (!seconds_per_step_) {
    seconds_per_step_ = record.seconds;
    progress_.tokens_per_second = record.tokens_per_second;
  }
  blend(*seconds_per_step_, record.seconds);
  blend(progress_.tokens_per_second, record.tokens_per_second);
  progress_.seconds_left = *seconds_per_step_ * static_cast<double>(std::max<int64_t>(0, record.total_steps - record.step));

  seconds_since_shown_ += record.seconds;
  const double pause = options_.redraw ? kSecondsBetweenDrawings : options_.seconds_between_lines;
  if (shown_ && seconds_since_shown_ < pause && record.step < record.total_steps) return;
  options_.redraw ? set_status_line(line()) : log_info(line());
  seconds_since_shown_ = 0;
  shown_ = true;
}

void ProgressBar::on_evaluation(int64_t step, const Metrics& metrics) {
  std::string text = fmt::format("after step {}:", step);
  for (const auto& [name, value] : metrics) text += fmt::format("  {} {:.4f}", name, value);
  log_info(text);
}

}  // namespace graft::pipelines
