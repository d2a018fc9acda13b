#include "pipelines/cloud/adapted_clip.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "kernels/base/error.h"
#include "peft_core/base/rng.h"
#include "pipelines/cloud/view_choice.h"

namespace graft::pipelines {
namespace {

constexpr int64_t kPointFeature = 512;

at::Generator generator(uint64_t seed, const char* stream) { return at::make_generator<at::CPUGeneratorImpl>(stream_seed(seed, stream)); }

/// A parameter of the model by its published name; undefined if there is none.
at::Tensor parameter_named(const peft::ClipModel& model, const std::string& name) {
  for (const auto& slot : model.places().parameters)
    if (slot.name == name) return *slot.tensor;
  return {};
}

at::Tensor leaf(const at::Tensor& start) { return start.detach().to(at::kFloat).clone(at::MemoryFormat::Contiguous).requires_grad_(); }

at::Tensor mean_descriptions(const peft::ClipModel& model, const std::vector<peft::TextIds>& descriptions) {
  const at::NoGradGuard no_gradient;
  std::vector<at::Tensor> rows;
  for (const auto& texts : descriptions) rows.push_back(peft::unit_rows(model.text_features(texts, {})).mean(0));
  return at::stack(rows);
}

}  // namespace

AdaptedClip::AdaptedClip(peft::ClipModel& model, const TextEncoder& encoder, std::vector<std::string> classes, CloudConfig config, uint64_t seed)
    : model_(model), config_(std::move(config)), classes_(std::move(classes)), texts_(class_texts(classes_, encoder, config_)) {
  auto draw = generator(seed, "text prompt");
  if (in_text(config_.prompts)) start_text_prompt(draw);
  draw = generator(seed, "picture prompt");
  if (in_vision(config_.prompts)) start_picture_prompt(draw);
  draw = generator(seed, "view adapter");
  if (config_.head == CloudHead::kPointclipAdapter) view_adapter_ = ViewAdapter(view_count(config_.projection), model_.config().joint, config_.head_ratio, draw);
}

/// In mode ours the context begins as the words that it stands in place of, and the attention adds nothing yet.
void AdaptedClip::start_text_prompt(at::Generator& draw) {
  const int64_t width = model_.config().text.width;
  const bool ours = config_.mode == CloudMode::kOurs;
  if (texts_.context.empty())
    throw InvalidArgument({.where = "cloud.text", .what = "has no words before {} that a prompt could learn from"});
  const auto count = static_cast<int64_t>(texts_.context.size());
  const auto ids = at::tensor(at::ArrayRef<int32_t>(texts_.context), at::kInt).to(at::kLong);
  text_context_ = leaf(ours ? model_.embed(ids) : at::empty({count, width}, at::kFloat).normal_(0, 0.02, draw));
  text_attention_ = CrossAttention({.width = width, .key_width = model_.config().joint, .residual = config_.mode != CloudMode::kReleased,
                                    .silent_start = ours}, draw);
  descriptions_ = mean_descriptions(model_, texts_.descriptions);
}

/// In mode ours the tokens begin as what they stand in place of: patches of the background.
void AdaptedClip::start_picture_prompt(at::Generator& draw) {
  const auto& shape = model_.config().vision;
  const int64_t width = shape.encoder.width, side = shape.image_size / shape.patch_size;
  if (side * side < config_.context_tokens)
    throw InvalidArgument({.where = "cloud.context_tokens", .what = "are more than a picture has patches",
                           .expected = "at most " + std::to_string(side * side), .got = std::to_string(config_.context_tokens)});
  const bool ours = config_.mode == CloudMode::kOurs;
  if (ours) {
    const auto weight = parameter_named(model_, "vision_model.embeddings.patch_embedding.weight");
    auto empty = weight.flatten(1).sum(1) * background_of(config_.projection);
    if (const auto bias = parameter_named(model_, "vision_model.embeddings.patch_embedding.bias"); bias.defined()) empty = empty + bias;
    picture_tokens_ = leaf(empty.expand({config_.context_tokens, width}));
  } else {
    picture_tokens_ = leaf(at::empty({config_.context_tokens, width}, at::kFloat).normal_(0, 0.02, draw));
  }
  point_net_ = PointNet(ours ? PointNorm::kRow : PointNorm::kBatch, draw);
  point_inner_ = Dense(PointNet::kWidth, 256, draw);
  point_outer_ = Dense(256, kPointFeature, draw);
  point_to_picture_ = Dense(kPointFeature, width, draw);
  picture_attention_ = CrossAttention({.width = width, .key_width = width, .residual = config_.mode != CloudMode::kReleased, .one_key = true,
                                       .silent_start = ours}, draw);
}

at::Tensor AdaptedClip::texts(const peft::ForwardContext& context) const {
  at::Tensor prompt;
  if (learns_texts()) prompt = text_attention_.forward(text_context_, descriptions_);
  return peft::unit_rows(model_.text_features(texts_.names, context, prompt));
}

/// points (B, N, 3) -> (B, P, C).
at::Tensor AdaptedClip::picture_prompt(const at::Tensor& points, bool training, at::Tensor& transform) const {
  const auto seen = point_net_.forward(points, training);
  transform = seen.transform;
  const auto feature = at::relu(point_outer_.forward(at::relu(point_inner_.forward(seen.feature))));
  return picture_attention_.forward(picture_tokens_, point_to_picture_.forward(feature).unsqueeze(1));
}

CloudScores AdaptedClip::forward(const at::Tensor& views, const at::Tensor& points, const at::Tensor& texts,
                                 const peft::ForwardContext& context) const {
  const int64_t clouds = views.size(0), count = views.size(1), side = views.size(3);
  CloudScores scores;
  at::Tensor prompt;
  if (wants_points()) {
    prompt = picture_prompt(points, context.training, scores.transform);
    prompt = prompt.unsqueeze(1).expand({clouds, count, prompt.size(1), prompt.size(2)}).reshape({clouds * count, prompt.size(1), prompt.size(2)});
  }
  const auto images = views.reshape({clouds * count, 1, side, side}).expand({clouds * count, 3, side, side});
  const auto features = peft::unit_rows(model_.image_features(images, context, prompt)).view({clouds, count, -1});
  const bool adapted = config_.head == CloudHead::kPointclipAdapter;
  scores.features = adapted ? peft::unit_rows(view_adapter_.forward(features)) : features;
  scores.logits = model_.scale() * at::matmul(scores.features, texts.t());
  return scores;
}

at::Tensor AdaptedClip::deciding_views(const at::Tensor& logits) const {
  return config_.views == ViewChoice::kEntropy ? kept_views(logits) : at::ones({logits.size(0), logits.size(1)}, at::kBool);
}

peft::NamedTensors AdaptedClip::leaves() const {
  peft::NamedTensors all;
  if (in_text(config_.prompts)) {
    all.emplace_back("text.context", text_context_);
    text_attention_.list("text.attention", all);
  }
  if (in_vision(config_.prompts)) {
    all.emplace_back("picture.tokens", picture_tokens_);
    picture_attention_.list("picture.attention", all);
    point_to_picture_.list("picture.from_points", all);
    point_net_.list("point_net", all);
    point_inner_.list("point_inner", all), point_outer_.list("point_outer", all);
  }
  if (config_.head == CloudHead::kPointclipAdapter) view_adapter_.list("view_adapter", all);
  return all;
}

peft::NamedTensors AdaptedClip::trainable() const {
  peft::NamedTensors trained;
  if (in_text(config_.prompts)) {
    trained.emplace_back("text.context", text_context_);
    text_attention_.list_trainable("text.attention", trained);
  }
  if (in_vision(config_.prompts)) {
    // The released code gives these to no optimizer.
    if (config_.mode != CloudMode::kReleased) {
      trained.emplace_back("picture.tokens", picture_tokens_);
      picture_attention_.list_trainable("picture.attention", trained);
      point_to_picture_.list("picture.from_points", trained);
    }
    point_net_.list("point_net", trained);
    point_inner_.list("point_inner", trained), point_outer_.list("point_outer", trained);
  }
  if (config_.head == CloudHead::kPointclipAdapter) view_adapter_.list("view_adapter", trained);
  return trained;
}

peft::NamedTensors AdaptedClip::statistics() const {
  peft::NamedTensors all;
  if (in_vision(config_.prompts)) point_net_.list_statistics("point_net", all);
  return all;
}

}  // namespace graft::pipelines
