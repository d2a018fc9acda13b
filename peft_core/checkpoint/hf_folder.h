#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "peft_core/backbones/weight_source.h"

namespace graft::peft {

/// A Hugging Face folder, opened but not yet read: config.json and the tensors of its safetensors files.
struct HfFolder {
  std::filesystem::path path;
  nlohmann::json config;
  std::shared_ptr<const WeightSource> weights;
  std::vector<std::filesystem::path> files;  ///< all weight files
  std::string fingerprint;                   ///< of names, shapes and sampled bytes of all tensors; quick even for large models

  std::string config_place() const { return (path / "config.json").string(); }  ///< for messages
};

/// Throws IoError naming the file that is missing or damaged.
HfFolder open_hf_folder(const std::filesystem::path& path);

}  // namespace graft::peft
