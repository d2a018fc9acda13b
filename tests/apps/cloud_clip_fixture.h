#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace graft::testing {

/// tiny_clip() with a tokenizer of single letters, as a Hugging Face folder.
void write_tiny_clip(const std::filesystem::path& folder);

/// Two clouds of each shape as text files: <class>/<number>.xyz, or scans/<number>.xyz.
void write_clouds(const std::filesystem::path& folder, uint64_t seed, double noise, bool classes_in_names);

struct CloudClipOutcome {
  int code = 0;
  std::string out, err;
};
/// Runs the program as a function call.
CloudClipOutcome cloud_clip(const std::vector<std::string>& arguments);

}  // namespace graft::testing
