#include "peft_core/base/log.h"

#include <iostream>
#include <mutex>
#include <string>

namespace graft {
namespace {

struct Log {
  std::mutex mutex;
  std::ostream* out = &std::cerr;
  LogLevel level = LogLevel::kInfo;
  std::string status;
};

Log& the_log() {
  static Log log;
  return log;
}

constexpr std::string_view kEraseLine = "\r\x1b[K";

void write_line(LogLevel needed, std::string_view prefix, std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  auto& log = the_log();
  const std::lock_guard lock(log.mutex);
  if (log.level < needed) return;
  if (!log.status.empty()) *log.out << kEraseLine;
  *log.out << prefix << line << '\n' << log.status << std::flush;
}

}  // namespace

void log_info(std::string_view line) { write_line(LogLevel::kInfo, "", line); }
void log_warning(std::string_view line) { write_line(LogLevel::kWarnings, "warning: ", line); }

void set_log_level(LogLevel level) {
  const std::lock_guard lock(the_log().mutex);
  the_log().level = level;
}

LogToStream::LogToStream(std::ostream& out) {
  const std::lock_guard lock(the_log().mutex);
  before_ = the_log().out;
  the_log().out = &out;
}

LogToStream::~LogToStream() {
  const std::lock_guard lock(the_log().mutex);
  the_log().out = before_;
}

void set_status_line(std::string_view text) {
  auto& log = the_log();
  const std::lock_guard lock(log.mutex);
  if (log.status.empty() && text.empty()) return;
  log.status = text;
  *log.out << kEraseLine << text << std::flush;
}

}  // namespace graft
