#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/checkpoint/adapter_files.h"
#include "peft_core/checkpoint/tensor_bytes.h"
#include "pipelines/cloud/adapted_clip.h"

namespace graft::pipelines {
namespace {

constexpr const char* kFile = "cloud_head.safetensors";
constexpr const char* kConfigKey = "cloud";
constexpr const char* kClassesKey = "classes";

peft::NamedTensors saved_tensors(const AdaptedClip& clip) {
  auto all = clip.leaves();
  for (const auto& statistic : clip.statistics()) all.push_back(statistic);
  return all;
}

}  // namespace

void AdaptedClip::save(const std::filesystem::path& folder) const {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : saved_tensors(*this)) tensors[name] = tensor.detach();
  peft::write_tensors(folder / kFile, tensors, {{kConfigKey, write_config(config_, kConfigKey)}, {kClassesKey, nlohmann::json(classes_).dump()}});
}

void AdaptedClip::load(const std::filesystem::path& folder) {
  const auto path = folder / kFile;
  const auto file = formats::SafetensorsFile::open(path);
  const at::NoGradGuard no_gradient;
  for (auto& [name, tensor] : saved_tensors(*this)) {
    const auto found = file.tensors().find(name);
    if (found == file.tensors().end()) throw IoError({.where = path.string(), .what = "lacks the tensor " + name});
    const auto stored = peft::as_tensor(found->second, nullptr);
    if (stored.sizes() != tensor.sizes())
      throw InvalidArgument({.where = path.string(), .what = name + " does not fit the model", .expected = c10::str(tensor.sizes()),
                             .got = c10::str(stored.sizes()), .hint = "use the model that the run was trained on"});
    tensor.copy_(stored);
  }
}

std::optional<CloudHeadFile> read_cloud_head(const std::filesystem::path& folder) {
  const auto path = folder / kFile;
  if (!std::filesystem::exists(path)) return std::nullopt;
  const auto metadata = formats::SafetensorsFile::open(path).metadata();
  const auto text = [&](const char* key) {
    const auto found = metadata.find(key);
    if (found == metadata.end()) throw IoError({.where = path.string(), .what = std::string("does not say its ") + key});
    return found->second;
  };
  const auto classes = nlohmann::json::parse(text(kClassesKey), nullptr, /*allow_exceptions=*/false);
  if (!classes.is_array()) throw IoError({.where = path.string(), .what = "has no list of classes"});
  return CloudHeadFile{read_config<CloudConfig>(ConfigNode::parse(text(kConfigKey), path.string()), kConfigKey),
                       classes.get<std::vector<std::string>>()};
}

AdaptedModel load_adapted(peft::ClipModel& model, const std::string& fingerprint, const TextEncoder& encoder, const std::filesystem::path& folder,
                          std::vector<std::string> classes, bool accept_other) {
  const auto head = read_cloud_head(folder);
  CloudConfig config;
  config.prompts = Part::kNone;
  if (head) config = head->config;
  if (classes.empty() && head) classes = head->classes;
  AdaptedModel adapted;
  adapted.clip = std::make_unique<AdaptedClip>(model, encoder, std::move(classes), config, 0);
  if (head) adapted.clip->load(folder);
  if (!head || std::filesystem::exists(folder / "adapter_config.json"))
    adapted.attachment = peft::attach_adapter(peft::read_adapter(folder), model.places(), fingerprint, accept_other, folder.string());
  return adapted;
}

}  // namespace graft::pipelines
