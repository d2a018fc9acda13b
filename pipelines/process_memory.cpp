#include "pipelines/process_memory.h"

#include <cstdlib>
#include <fstream>
#include <string>

namespace graft::pipelines {

int64_t peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  const std::string key = "VmHWM:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::strtoll(line.c_str() + key.size(), nullptr, 10) * 1024;  // the file says kB
  }
  return 0;
}

}  // namespace graft::pipelines
