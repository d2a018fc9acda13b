#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace graft {

/// What the operating system says about memory; bytes. A figure that cannot be read is 0.
struct MemoryFigures {
  int64_t resident = 0;           ///< of this process, now
  int64_t peak_resident = 0;      ///< of this process, highest so far
  int64_t total = 0;              ///< of the machine
  int64_t available = 0;          ///< what can still be taken without swapping, within the container's limit
  std::optional<int64_t> limit;   ///< of the container (control group version 1 or 2), if there is one
};

/// `root` is "/" but in tests.
MemoryFigures read_memory_figures(const std::filesystem::path& root = "/");

/// Highest resident size of this process so far, in bytes.
int64_t peak_resident_bytes();

}  // namespace graft
