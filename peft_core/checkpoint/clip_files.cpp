#include "peft_core/checkpoint/clip_files.h"

#include "peft_core/base/files.h"
#include "peft_core/checkpoint/hf_writer.h"

namespace graft::peft {

ClipFiles open_clip(const std::filesystem::path& path) {
  auto folder = open_hf_folder(path);
  auto config = parse_clip_config(folder.config, folder.config_place());
  return {std::move(folder), std::move(config)};
}

void write_clip(const std::filesystem::path& folder, const ClipModel& model) {
  std::filesystem::create_directories(folder);
  write_hf_weights(folder, merged_tensors(model.places()), {});
  write_file_atomically(folder / "config.json", clip_config_json(model.config()).dump(2) + "\n");
}

}  // namespace graft::peft
