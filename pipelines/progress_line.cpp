#include "pipelines/progress_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace graft::pipelines {
namespace {

constexpr int kShortestBar = 8, kLongestBar = 30;

std::string repeated(const char* piece, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += piece;
  return text;
}

std::string bar(double share, int width, const LineStyle& style) {
  const int done = static_cast<int>(std::lround(share * width));
  const auto full = repeated(style.unicode ? "━" : "#", done), rest = repeated(style.unicode ? "─" : "-", width - done);
  return style.color ? "\x1b[32m" + full + "\x1b[2;39m" + rest + "\x1b[0m" : full + rest;
}

double share_of(const Progress& progress) {
  return progress.total_steps > 0 ? std::clamp(static_cast<double>(progress.step) / static_cast<double>(progress.total_steps), 0.0, 1.0) : 0.0;
}

/// Most important first. Widths are fixed where they can be, so that the line does not tremble.
std::vector<std::string> parts_of(const Progress& progress) {
  const auto total = std::to_string(progress.total_steps);
  return {fmt::format("{:>{}}/{}", progress.step, total.size(), total),
          fmt::format("loss {:.4f}", progress.loss),
          fmt::format("{:>6} tok/s", format_count(std::llround(progress.tokens_per_second))),
          fmt::format("{:>5} left", format_duration(progress.seconds_left)),
          format_bytes(progress.memory_bytes)};
}

}  // namespace

std::string format_duration(double seconds) {
  const auto whole = std::isfinite(seconds) ? std::llround(std::clamp(seconds, 0.0, 3.6e8)) : 0;
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string format_bytes(int64_t bytes) {
  const auto mib = static_cast<double>(bytes) / (1 << 20);
  if (mib < 1) return fmt::format("{} KiB", bytes >> 10);
  return mib < 1000 ? fmt::format("{:.0f} MiB", mib) : fmt::format("{:.1f} GiB", mib / 1024);
}

std::string format_steps(int64_t count) { return format_count(count) + (count == 1 ? " step" : " steps"); }

std::string format_count(int64_t count) {
  auto text = std::to_string(count);
  for (auto at = static_cast<int64_t>(text.size()) - 3; at > (count < 0 ? 1 : 0); at -= 3) text.insert(static_cast<size_t>(at), ",");
  return text;
}

std::string progress_bar_line(const Progress& progress, const LineStyle& style) {
  std::string text;
  const int room = style.columns - 1 - kShortestBar;  // the last column stays free: some terminals wrap there
  int used = 0;
  for (const auto& part : parts_of(progress)) {
    const int width = static_cast<int>(part.size()) + 2;
    if (used + width > room) break;
    text += "  " + part;
    used += width;
  }
  const int width = std::clamp(style.columns - 1 - used, 0, kLongestBar);
  return bar(share_of(progress), width, style) + text;
}

std::string progress_text_line(const Progress& progress) {
  std::string text = "step";
  for (const auto& part : parts_of(progress)) {
    text += (text == "step" ? " " : "  ") + part.substr(std::min(part.find_first_not_of(' '), part.size()));
  }
  return text;
}

}  // namespace graft::pipelines
