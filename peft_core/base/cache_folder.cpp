#include "peft_core/base/cache_folder.h"

#include <cstdlib>

namespace graft {

std::filesystem::path cache_folder() {
  const auto folder_in = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value == nullptr ? "" : value);
  };
  if (auto own = folder_in("GRAFT_CACHE"); !own.empty()) return own;
  // The XDG rules: a relative path counts as none.
  if (const auto cache = folder_in("XDG_CACHE_HOME"); cache.is_absolute()) return cache / "graft";
  if (const auto home = folder_in("HOME"); home.is_absolute()) return home / ".cache" / "graft";
  return {};
}

}  // namespace graft
