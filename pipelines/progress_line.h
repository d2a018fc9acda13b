#pragma once

#include <cstdint>
#include <string>

namespace graft::pipelines {

/// What is known after a step, for people.
struct Progress {
  int64_t step = 0, total_steps = 0;
  double loss = 0;
  double tokens_per_second = 0;
  double seconds_left = 0;
  int64_t memory_bytes = 0;
};

struct LineStyle {
  int columns = 80;
  bool unicode = true;
  bool color = false;
};

/// One line with a bar, never wider than the terminal; parts that do not fit are left out from the right.
std::string progress_bar_line(const Progress& progress, const LineStyle& style);
/// The same figures for a log file, without a bar.
std::string progress_text_line(const Progress& progress);

std::string format_duration(double seconds);     ///< "42 s", "3:07", "2:05:09"
std::string format_bytes(int64_t bytes);         ///< "830 MiB", "1.4 GiB"
std::string format_count(int64_t count);         ///< "12,345"
std::string format_steps(int64_t count);         ///< "1 step", "12,345 steps"

}  // namespace graft::pipelines
