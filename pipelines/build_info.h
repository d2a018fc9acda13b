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
  std::string cuda;             ///< "on", or why not
  std::string heavy_libraries;  ///< those of single applications and what became of them, separated by "; "
};

const BuildInfo& build_info();

}  // namespace graft::pipelines
