#pragma once

#include <filesystem>
#include <string>

#include "peft_core/checkpoint/adapter_files.h"
#include "tests/peft_core/methods/method_fixture.h"

namespace graft::testing {

/// Writes an adapter of random values for the tiny llama into `folder`.
inline void write_random(const std::filesystem::path& folder, const std::string& method, const std::string& options, uint64_t seed) {
  const auto adapted = adapt(method, options, "llama");
  adapted.disturb(seed);
  std::filesystem::create_directories(folder);
  peft::write_adapter(folder, *adapted.attachment, {.base_model = "tiny", .base_fingerprint = "tiny"});
}

}  // namespace graft::testing
