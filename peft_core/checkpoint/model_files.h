#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "peft_core/backbones/decoder_config.h"
#include "peft_core/backbones/weight_source.h"

namespace graft::peft {

/// A model on disk, opened but not yet read.
struct ModelFiles {
  std::filesystem::path path;              ///< the folder or the .gguf file
  DecoderConfig config;
  std::shared_ptr<const WeightSource> weights;
  std::vector<std::filesystem::path> files;  ///< all weight files
  std::string fingerprint;                 ///< of names, shapes and sampled bytes of all tensors; quick even for large models
  bool is_gguf = false;
};

/// A Hugging Face folder (config.json, *.safetensors) or a .gguf file.
/// Throws IoError or InvalidArgument naming the file and what is missing, or which model types are supported.
ModelFiles open_model(const std::filesystem::path& path);

}  // namespace graft::peft
