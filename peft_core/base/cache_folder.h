#pragma once

#include <filesystem>

namespace graft {

/// Where what is dear to compute is kept between runs: $GRAFT_CACHE, else $XDG_CACHE_HOME/graft, else ~/.cache/graft; empty if none is set.
/// Nothing ever deletes files there, a user may at any time. The folder may not exist yet.
std::filesystem::path cache_folder();

}  // namespace graft
