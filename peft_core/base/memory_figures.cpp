#include "peft_core/base/memory_figures.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace graft {
namespace {

namespace fs = std::filesystem;

/// The number after `name` in a file of lines such as "VmHWM:   1234 kB" or "inactive_file 1234".
int64_t figure(const fs::path& file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string key, unit;
    int64_t value = 0;
    if (words >> key >> value && key == name) return words >> unit && unit == "kB" ? value * 1024 : value;
  }
  return 0;
}

std::optional<int64_t> single_number(const fs::path& file) {
  std::ifstream in(file);
  int64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;  // also for the word "max"
}

struct Limit {
  int64_t limit = 0, used = 0;
};

/// Page cache that is not in use counts as used by the group but is given back when memory is asked for.
std::optional<Limit> limit_of(const fs::path& group, const char* limit_file, const char* used_file, const char* cache_name) {
  constexpr int64_t kUnlimited = int64_t{1} << 60;  // version 1 writes a huge number instead of "max"
  const auto limit = single_number(group / limit_file);
  const auto used = single_number(group / used_file);
  if (!limit || !used || *limit >= kUnlimited) return std::nullopt;
  return Limit{*limit, *used - figure(group / "memory.stat", cache_name)};
}

/// The tightest limit from the process's own group up to the top.
std::optional<Limit> tightest_limit(const fs::path& root) {
  std::optional<Limit> tightest;
  const auto consider = [&](const std::optional<Limit>& found) {
    if (found && (!tightest || found->limit - found->used < tightest->limit - tightest->used)) tightest = found;
  };
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    for (fs::path group = fs::path(line.substr(second + 1)).relative_path();; group = group.parent_path()) {
      if (controllers.empty()) {
        consider(limit_of(root / "sys/fs/cgroup" / group, "memory.max", "memory.current", "inactive_file"));
      } else if (controllers == "memory") {
        consider(limit_of(root / "sys/fs/cgroup/memory" / group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"));
      }
      if (group.empty()) break;
    }
  }
  return tightest;
}

}  // namespace

MemoryFigures read_memory_figures(const fs::path& root) {
  MemoryFigures figures;
  figures.resident = figure(root / "proc/self/status", "VmRSS:");
  figures.peak_resident = figure(root / "proc/self/status", "VmHWM:");
  figures.total = figure(root / "proc/meminfo", "MemTotal:");
  figures.available = figure(root / "proc/meminfo", "MemAvailable:");
  if (const auto found = tightest_limit(root)) {
    figures.limit = found->limit;
    figures.available = std::min(figures.available, std::max<int64_t>(0, found->limit - found->used));
  }
  return figures;
}

int64_t peak_resident_bytes() { return figure("/proc/self/status", "VmHWM:"); }

}  // namespace graft
