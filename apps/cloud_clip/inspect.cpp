#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "apps/cloud_clip/commands.h"
#include "kernels/base/error.h"
#include "peft_core/backbones/vit/vit_model.h"
#include "peft_core/checkpoint/adapter_files.h"
#include "peft_core/checkpoint/clip_files.h"
#include "peft_core/checkpoint/tensor_bytes.h"

namespace graft::apps::cloud {
namespace {

using Json = nlohmann::ordered_json;

/// "images" (B, 3, H, W) fp32 and "ids.0", "ids.1", ... (T) of a safetensors file.
struct Samples {
  at::Tensor images;
  peft::TextIds texts;
};

Samples read_samples(const std::string& path, bool with_texts = true) {
  const auto file = formats::SafetensorsFile::open(path);
  Samples samples;
  for (const auto& [name, stored] : file.tensors()) {
    const auto tensor = peft::as_tensor(stored, nullptr);
    if (name == "images") samples.images = tensor.to(at::kFloat).clone();
  }
  for (size_t i = 0; file.tensors().contains("ids." + std::to_string(i)); ++i) {
    const auto ids = peft::as_tensor(file.tensors().at("ids." + std::to_string(i)), nullptr).to(at::kInt).contiguous();
    samples.texts.emplace_back(ids.const_data_ptr<int32_t>(), ids.const_data_ptr<int32_t>() + ids.numel());
  }
  if (!samples.images.defined() || (with_texts && samples.texts.empty()))
    throw InvalidArgument({.where = path, .what = "is not what --logits reads",
                           .expected = "a safetensors file with images (B, 3, H, W) and ids.0, ids.1, ... (T)"});
  return samples;
}

void need_out_file(const pipelines::Invocation& call) {
  if (call.out_dir.empty()) throw InvalidArgument({.where = "--out", .what = "is missing", .hint = "name the .safetensors file to write"});
}

/// image_features (B, J), text_features (K, J), both as projected, and logits (B, K), as transformers' CLIPModel gives them.
void write_features(const peft::ClipModel& model, const pipelines::Invocation& call) {
  need_out_file(call);
  at::NoGradGuard no_gradient;
  const auto samples = read_samples(call.logits);
  const auto images = model.image_features(samples.images, {}), texts = model.text_features(samples.texts, {});
  const auto logits = model.scale() * at::mm(peft::unit_rows(images), peft::unit_rows(texts).t());
  peft::write_tensors(call.out_dir, {{"image_features", images}, {"text_features", texts}, {"logits", logits}}, {});
}

/// A plain vision transformer: image_features (B, C) and, if it classifies, logits (B, K), as transformers gives them.
void inspect_vit(const peft::HfFolder& folder, const pipelines::Invocation& call) {
  const peft::VitModel model(peft::parse_vit_config(folder.config, folder.config_place()), *folder.weights, {});
  if (call.logits.empty()) {
    *call.out << nlohmann::ordered_json(folder.config).dump(2) << "\n";
    return;
  }
  need_out_file(call);
  at::NoGradGuard no_gradient;
  const auto images = read_samples(call.logits, /*with_texts=*/false).images;
  std::map<std::string, at::Tensor> found = {{"image_features", model.features(images, {})}};
  if (!model.config().classes.empty()) found["logits"] = model.logits(images, {});
  peft::write_tensors(call.out_dir, found, {});
}

}  // namespace

void inspect(const pipelines::Invocation& call) {
  if (const auto folder = peft::open_hf_folder(call.model); folder.config.value("model_type", "") != "clip") return inspect_vit(folder, call);
  const auto files = peft::open_clip(call.model);
  peft::ClipModel model(files.config, *files.folder.weights, {});
  std::unique_ptr<peft::Attachment> attachment;
  if (!call.adapter.empty())
    attachment = peft::attach_adapter(peft::read_adapter(call.adapter), model.places(), files.folder.fingerprint, false, call.adapter);
  if (!call.logits.empty()) return write_features(model, call);
  *call.out << peft::clip_config_json(model.config()).dump(2) << "\n";
}

}  // namespace graft::apps::cloud
