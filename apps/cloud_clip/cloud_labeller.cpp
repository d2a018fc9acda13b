#include "apps/cloud_clip/cloud_labeller.h"

#include <ATen/ATen.h>

#include "data_loaders/cloud/sampling.h"
#include "data_loaders/text/tokenizer.h"
#include "kernels/base/error.h"
#include "peft_core/base/sha256.h"
#include "pipelines/cloud/class_features.h"
#include "pipelines/cloud/cloud_samples.h"
#include "pipelines/cloud/cloud_views.h"

namespace graft::apps::cloud {

using namespace pipelines;

namespace {

constexpr uint64_t kPointsSeed = 0;  // of the points that PointNet sees of a cloud: the same in every run

/// What was learnt from one projection's views is of no use with another's.
Projection projection_for(const Invocation& call, const ZeroShotConfig& config) {
  const auto head = call.adapter.empty() ? std::nullopt : read_cloud_head(call.adapter);
  const auto projection = head ? head->config.projection : config.projection;
  if (projection != config.projection && call.config.find("zero_shot.projection") != nullptr)
    throw InvalidArgument({.where = "zero_shot.projection", .what = "is not the one that " + call.adapter + " was trained with", .expected = enum_name(projection),
                           .got = enum_name(config.projection), .hint = "leave it out"});
  expect_fit(config.mode, projection);
  return projection;
}

}  // namespace

CloudLabeller::CloudLabeller(const Invocation& call, const ZeroShotConfig& config, const BaseConfig& base, std::vector<CloudClass> classes)
    : config_(config), projection_(projection_for(call, config)), classes_(std::move(classes)), files_(peft::open_clip(call.model)) {
  const auto tokenizer = data::load_tokenizer(call.model);
  model_ = std::make_unique<peft::ClipModel>(files_.config, *files_.folder.weights, base_storage(base, files_.folder.weights->stored_dtype()));
  if (!call.adapter.empty())
    adapted_ = std::make_unique<AdaptedModel>(load_adapted(*model_, files_.folder.fingerprint, text_encoder(*tokenizer, files_.config), call.adapter, names(), base.accept_other));
  at::NoGradGuard no_gradient;
  features_ = adapted_ && adapted_->clip->learns_texts()
                  ? adapted_->clip->texts({})
                  : class_features(*model_, *tokenizer, classes_, config_.prompts, fingerprint_with_adapter(call.adapter));
}

// An adapter may stand in the text tower: with it the same prompts have other features; so have they in another precision.
std::string CloudLabeller::fingerprint_with_adapter(const std::string& adapter) const {
  const auto& storage = model_->storage();
  std::string print = files_.folder.fingerprint;
  if (storage.compute != at::kFloat || storage.quantize != peft::Quantize::kNone)
    print.append("+").append(c10::toString(storage.compute)).append(storage.quantize == peft::Quantize::kNf4 ? "+nf4" : "");
  if (adapter.empty()) return print;
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "cloud_head.safetensors"})
    if (const auto file = std::filesystem::path(adapter) / name; std::filesystem::exists(file)) print.append("+").append(sha256_of_file(file));
  return print;
}

std::vector<std::string> CloudLabeller::names() const {
  std::vector<std::string> names;
  for (const auto& which : classes_) names.push_back(which.name);
  return names;
}

CloudLabeller::Labelled CloudLabeller::label(std::span<const data::PointCloud> clouds) const {
  Labelled labelled;
  const auto views = draw_views(clouds, side(), projection_);
  labelled.views = shown_views(views, projection_);
  const auto logits = logits_of(views, clouds).contiguous();
  const auto of_cloud = static_cast<size_t>(logits.size(1) * logits.size(2));
  const std::span<const float> all(logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel()));
  for (size_t i = 0; i < clouds.size(); ++i)
    labelled.answers.push_back(answer_of({.values = all.subspan(i * of_cloud, of_cloud), .classes = logits.size(2)}, config_.mode));
  return labelled;
}

at::Tensor CloudLabeller::logits_of(const at::Tensor& views, std::span<const data::PointCloud> clouds) const {
  if (!adapted_) return view_logits(*model_, views, features_);
  at::NoGradGuard no_gradient;
  at::Tensor points;
  if (adapted_->clip->wants_points()) {
    std::vector<data::PointCloud> placed;
    for (const auto& cloud : clouds) placed.push_back(data::unit_sphere(cloud));
    points = points_of(placed, adapted_->clip->config().points, kPointsSeed);
  }
  return adapted_->clip->forward(views, points, features_, {}).logits;
}

std::vector<CloudClass> classes_of(const Invocation& call) {
  if (!call.classes.empty() && !call.classes_file.empty())
    throw InvalidArgument({.where = "--classes", .what = "stands beside --classes-file", .hint = "give one of them"});
  return call.has(Option::kClassesFile) ? classes_in_file(call.classes_file) : classes_in_list(call.classes);
}

}  // namespace graft::apps::cloud
