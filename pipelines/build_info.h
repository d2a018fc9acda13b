#pragma once

#include <string>

namespace graft::pipelines {

/// What this program was built from; refreshed at every build.
struct BuildInfo {
  std::string version;     ///< of the project
  std::string commit;      ///< `git describe --always --dirty`, or "unknown" outside a checkout
  std::string compiler;
  std::string build_type;
  std::string libtorch;    ///< version compiled against
};

const BuildInfo& build_info();

}  // namespace graft::pipelines
