#pragma once

#include <cstdint>

namespace graft::pipelines {

/// Highest resident memory of this process so far, bytes (VmHWM of /proc/self/status); 0 where the system does not say.
int64_t peak_memory_bytes();

}  // namespace graft::pipelines
