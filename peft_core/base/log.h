#pragma once

#include <string_view>

namespace graft {

/// One line on stderr; stdout belongs to results. While a progress bar is drawn, the line goes above it.
void log_info(std::string_view line);
void log_warning(std::string_view line);

enum class LogLevel { kQuiet, kWarnings, kInfo };
void set_log_level(LogLevel level);

}  // namespace graft
