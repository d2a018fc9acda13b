#include "peft_core/checkpoint/hf_folder.h"

#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/checkpoint/safetensors_source.h"
#include "peft_core/checkpoint/tensor_fingerprint.h"

namespace graft::peft {

HfFolder open_hf_folder(const std::filesystem::path& path) {
  HfFolder folder;
  folder.path = path;
  const auto config_file = path / "config.json";
  if (!std::filesystem::exists(config_file))
    throw IoError({.where = path.string(), .what = "holds no config.json", .expected = "a Hugging Face model folder"});
  folder.config = read_json_file(config_file);
  auto file = formats::SafetensorsFile::open_folder(path);
  for (const auto& mapped : file.files()) folder.files.push_back(mapped->path());
  folder.fingerprint = tensor_fingerprint(file.tensors());
  folder.weights = std::make_shared<SafetensorsSource>(std::move(file), path.string());
  return folder;
}

}  // namespace graft::peft
