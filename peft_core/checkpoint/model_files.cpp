#include "peft_core/checkpoint/model_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/base/sha256.h"
#include "peft_core/checkpoint/gguf_source.h"
#include "peft_core/checkpoint/safetensors_source.h"

namespace graft::peft {
namespace {

constexpr size_t kSampleBytes = 4096;

/// Name, shape, and the first and last bytes of every tensor: a changed or re-quantised model differs in these.
template <class Tensors>
std::string fingerprint_of(const Tensors& tensors) {
  Sha256 hash;
  for (const auto& [name, tensor] : tensors) {
    hash.add(name);
    for (const auto size : tensor.shape) hash.add(" "), hash.add(std::to_string(size));
    const auto sample = std::min(kSampleBytes, tensor.bytes.size());
    hash.add(tensor.bytes.first(sample));
    hash.add(tensor.bytes.last(sample));
  }
  return hash.hex();
}

ModelFiles open_gguf(const std::filesystem::path& path) {
  auto file = formats::GgufFile::open(path);
  ModelFiles model;
  model.path = path;
  model.config = decoder_config_of(file);
  model.files = {path};
  model.fingerprint = fingerprint_of(file.tensors());
  model.is_gguf = true;
  model.weights = std::make_shared<GgufSource>(std::move(file), model.config);
  return model;
}

ModelFiles open_folder(const std::filesystem::path& path) {
  const auto config_file = path / "config.json";
  if (!std::filesystem::exists(config_file))
    throw IoError({.where = path.string(), .what = "holds no config.json", .expected = "a Hugging Face model folder or a .gguf file"});
  ModelFiles model;
  model.path = path;
  model.config = parse_decoder_config(read_json_file(config_file), config_file.string());
  auto file = formats::SafetensorsFile::open_folder(path);
  for (const auto& mapped : file.files()) model.files.push_back(mapped->path());
  model.fingerprint = fingerprint_of(file.tensors());
  // Tied checkpoints may carry the head all the same; an untied config without one is tied in fact.
  if (!model.config.tied_head && !file.tensors().contains("lm_head.weight")) model.config.tied_head = true;
  model.weights = std::make_shared<SafetensorsSource>(std::move(file), path.string());
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
