#pragma once

#include <filesystem>
#include <string>

namespace graft::testing {

/// The folder beside the checkout that holds real data and small real models (GRAFT_SHARED overrides); it may be absent.
std::filesystem::path shared_dir();

/// The repository's own root.
std::filesystem::path source_dir();

/// SmolLM2-135M-Instruct as GGUF, from the Python wheel in .venv; empty if not installed.
std::filesystem::path smollm2_gguf();

}  // namespace graft::testing

/// Skips the running test, with the reason, where `path` is absent.
#define GRAFT_SKIP_UNLESS_EXISTS(path)                                                        \
  do {                                                                                        \
    if (!std::filesystem::exists(path))                                                       \
      GTEST_SKIP() << "needs " << (path) << ", which is not here (test data, see tests/README.md)"; \
  } while (false)
