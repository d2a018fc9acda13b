#include "pipelines/cloud/class_features.h"

#include <ATen/ATen.h>

#include "kernels/base/error.h"
#include "peft_core/base/cache_folder.h"
#include "peft_core/base/log.h"
#include "peft_core/base/sha256.h"
#include "peft_core/checkpoint/tensor_bytes.h"
#include "pipelines/cloud/cloud_views.h"

namespace graft::pipelines {
namespace {

constexpr int kVersion = 1;  // counts up when the features of the same ids change

std::vector<int32_t> ids_of(const std::string& prompt, const data::Tokenizer& tokenizer, const peft::ClipConfig& config) {
  const auto start = tokenizer.specials().bos ? tokenizer.specials().bos : tokenizer.id_of("<|startoftext|>");
  if (!start) throw InvalidArgument({.where = "--model", .what = "its tokenizer has no start token, which CLIP's texts begin with"});
  std::vector<int32_t> ids = {*start};
  const auto words = tokenizer.encode(prompt, data::SpecialText::kPlain);
  ids.insert(ids.end(), words.begin(), words.end());
  ids.push_back(static_cast<int32_t>(config.end_token));
  if (static_cast<int64_t>(ids.size()) > config.positions)
    throw InvalidArgument({.where = "the prompt '" + prompt + "'", .what = "is too long for the model", .expected = "at most " + std::to_string(config.positions) + " tokens",
                           .got = std::to_string(ids.size())});
  return ids;
}

struct ClassIds {
  peft::TextIds texts;            ///< of all classes, one after the other
  std::vector<int64_t> counts;    ///< of each class

  std::string key(const std::string& fingerprint) const {
    Sha256 hash;
    hash.add("class features " + std::to_string(kVersion) + " " + fingerprint + " ");
    for (const auto count : counts) hash.add(std::to_string(count) + ",");
    for (const auto& text : texts) {
      hash.add("/");
      for (const auto id : text) hash.add(std::to_string(id) + ",");
    }
    return hash.hex();
  }
};

at::Tensor computed(const peft::ClipModel& model, const ClassIds& ids) {
  const auto features = peft::unit_rows(model.text_features(ids.texts, {}));
  std::vector<at::Tensor> means;
  int64_t first = 0;
  for (const auto count : ids.counts) {
    means.push_back(features.slice(0, first, first + count).mean(0));
    first += count;
  }
  return peft::unit_rows(at::stack(means));
}

/// Undefined if there is none that can be used.
at::Tensor kept_in(const std::filesystem::path& file, int64_t classes, int64_t width) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) return {};
  try {
    const auto stored = formats::SafetensorsFile::open(file);
    auto features = peft::as_tensor(stored.tensors().at("features"), nullptr).clone();
    if (features.sizes() == at::IntArrayRef{classes, width} && features.scalar_type() == at::kFloat && features.isfinite().all().item<bool>()) return features;
    log_warning("class features: " + file.string() + " holds something else and is made anew");
  } catch (const std::exception& problem) {
    log_warning("class features: " + file.string() + " is made anew: " + problem.what());
  }
  return {};
}

void keep_in(const std::filesystem::path& file, const at::Tensor& features) {
  try {
    std::filesystem::create_directories(file.parent_path());
    peft::write_tensors(file, {{"features", features}}, {});
  } catch (const std::exception& problem) {
    log_warning(std::string("class features are not kept: ") + problem.what());
  }
}

}  // namespace

at::Tensor class_features(const peft::ClipModel& model, const data::Tokenizer& tokenizer, std::span<const CloudClass> classes,
                          const PromptConfig& prompts, const std::string& fingerprint) {
  ClassIds ids;
  for (const auto& which : classes) {
    const auto texts = prompts_of(which, prompts);
    ids.counts.push_back(static_cast<int64_t>(texts.size()));
    for (const auto& text : texts) ids.texts.push_back(ids_of(text, tokenizer, model.config()));
  }
  at::NoGradGuard no_gradient;
  const auto folder = cache_folder();
  if (folder.empty()) return computed(model, ids);
  const auto file = folder / (ids.key(fingerprint) + ".features.safetensors");
  auto features = kept_in(file, static_cast<int64_t>(ids.counts.size()), model.config().joint);
  if (features.defined()) return features;
  features = computed(model, ids);
  keep_in(file, features);
  return features;
}

at::Tensor view_logits(const peft::ClipModel& model, const at::Tensor& views, const at::Tensor& classes) {
  at::NoGradGuard no_gradient;
  const auto features = peft::unit_rows(model.image_features(as_images(views), {}));
  return (model.scale() * at::mm(features, classes.t())).view({views.size(0), views.size(1), classes.size(0)});
}

}  // namespace graft::pipelines
