#include "peft_core/checkpoint/model_files.h"

#include "kernels/base/error.h"
#include "peft_core/checkpoint/gguf_source.h"
#include "peft_core/checkpoint/hf_folder.h"
#include "peft_core/checkpoint/tensor_fingerprint.h"

namespace graft::peft {
namespace {

ModelFiles open_gguf(const std::filesystem::path& path) {
  auto file = formats::GgufFile::open(path);
  ModelFiles model;
  model.path = path;
  model.config = decoder_config_of(file);
  model.files = {path};
  model.fingerprint = tensor_fingerprint(file.tensors());
  model.is_gguf = true;
  model.weights = std::make_shared<GgufSource>(std::move(file), model.config);
  return model;
}

ModelFiles open_folder(const std::filesystem::path& path) {
  const auto folder = open_hf_folder(path);
  ModelFiles model;
  model.path = path;
  model.config = parse_decoder_config(folder.config, folder.config_place());
  model.files = folder.files;
  model.fingerprint = folder.fingerprint;
  // Tied checkpoints may carry the head all the same; an untied config without one is tied in fact.
  if (!model.config.tied_head && !folder.weights->has("lm_head.weight")) model.config.tied_head = true;
  model.weights = folder.weights;
  return model;
}

}  // namespace

ModelFiles open_model(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path))
    throw IoError({.where = path.string(), .what = "does not exist", .expected = "a Hugging Face model folder or a .gguf file"});
  if (std::filesystem::is_directory(path)) return open_folder(path);
  if (path.extension() == ".gguf") return open_gguf(path);
  throw InvalidArgument({.where = path.string(), .what = "is no model", .expected = "a Hugging Face model folder or a .gguf file"});
}

}  // namespace graft::peft
