#include "pipelines/cli/sleeping_threads.h"

#include <unistd.h>

#include <cstdlib>

namespace graft::pipelines {

void let_idle_threads_sleep(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  if (setenv("OMP_WAIT_POLICY", "passive", 0) != 0) return;
  execv("/proc/self/exe", argv);  // comes back only if it failed; then the program runs as it is
}

}  // namespace graft::pipelines
