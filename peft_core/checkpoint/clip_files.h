#pragma once

#include <filesystem>

#include "peft_core/backbones/clip/clip_model.h"
#include "peft_core/checkpoint/hf_folder.h"

namespace graft::peft {

/// A CLIP model on disk, opened but not yet read.
struct ClipFiles {
  HfFolder folder;
  ClipConfig config;
};

/// A Hugging Face folder of a CLIPModel. Throws IoError or InvalidArgument naming the file and what is wrong with it.
ClipFiles open_clip(const std::filesystem::path& path);

/// Writes config.json and model.safetensors, fp32, with adapters folded in. Throws IoError if the disk refuses.
void write_clip(const std::filesystem::path& folder, const ClipModel& model);

}  // namespace graft::peft
