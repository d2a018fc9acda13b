#pragma once

#include <ostream>
#include <string_view>

namespace graft {

/// One line on stderr, with or without its line break; stdout belongs to results. While a progress bar is drawn, the line goes above it. Thread-safe.
void log_info(std::string_view line);
void log_warning(std::string_view line);

enum class LogLevel { kQuiet, kWarnings, kInfo };
void set_log_level(LogLevel level);

/// Where lines go instead of std::cerr, until the object goes; for tests and for run_app's `err`.
class LogToStream {
 public:
  explicit LogToStream(std::ostream& out);
  ~LogToStream();
  LogToStream(const LogToStream&) = delete;
  LogToStream& operator=(const LogToStream&) = delete;

 private:
  std::ostream* before_;
};

/// A line that stays the last one of a terminal while log lines scroll above it; an empty text takes it away. Not for files.
void set_status_line(std::string_view text);

}  // namespace graft
