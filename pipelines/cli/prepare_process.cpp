#include "pipelines/cli/prepare_process.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

namespace graft::pipelines {
namespace {

// Half a millisecond with the slowest pause instruction (50 ns): longer than the gaps inside a step, shorter than a scheduler's slice.
constexpr const char* kSpins = "10000";

/// Threads that run or wait for a core on this machine at this moment, this one included; 1 where the system does not say.
int running_threads() {
  std::ifstream stat("/proc/stat");
  for (std::string key; stat >> key;) {
    if (int count = 1; key == "procs_running" && stat >> count) return count;
    stat.ignore(1 << 16, '\n');
  }
  return 1;
}

/// The median of a few moments: a single one may meet another program's blink.
bool cores_are_taken() {
  std::array<int, 7> running{};
  for (auto& count : running) {
    count = running_threads();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::nth_element(running.begin(), running.begin() + running.size() / 2, running.end());
  const int others = running[running.size() / 2] - 1;
  return 2 * others > static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

void prepare_process(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  const bool sleep = cores_are_taken();
  if (setenv(sleep ? "OMP_WAIT_POLICY" : "GOMP_SPINCOUNT", sleep ? "passive" : kSpins, 0) != 0) return;
  execv("/proc/self/exe", argv);  // comes back only if it failed; then the program runs as it is
}

}  // namespace graft::pipelines
