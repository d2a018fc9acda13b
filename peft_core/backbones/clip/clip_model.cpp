#include "peft_core/backbones/clip/clip_model.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/base/error.h"
#include "peft_core/backbones/encoder/token_rows.h"

namespace graft::peft {
namespace {

/// All texts end to end, and where each one's feature is read.
struct PackedTexts {
  std::vector<int64_t> ids, positions, ends;
  std::vector<int32_t> lengths;
};

PackedTexts packed(const TextIds& texts, const ClipConfig& config) {
  PackedTexts all;
  for (const auto& text : texts) {
    const auto end = std::find(text.begin(), text.end(), config.end_token);
    if (end == text.end() || static_cast<int64_t>(text.size()) > config.positions)
      throw InvalidArgument({.where = "text", .what = "is no sequence for this model",
                             .expected = "at most " + std::to_string(config.positions) + " tokens, one of them the end token " +
                                         std::to_string(config.end_token),
                             .got = std::to_string(text.size()) + " tokens"});
    all.ends.push_back(static_cast<int64_t>(all.ids.size()) + (end - text.begin()));
    all.lengths.push_back(static_cast<int32_t>(text.size()));
    for (size_t i = 0; i < text.size(); ++i) all.ids.push_back(text[i]), all.positions.push_back(static_cast<int64_t>(i));
  }
  return all;
}

}  // namespace

ClipModel::ClipModel(ClipConfig config, const WeightSource& weights, const BaseStorage& storage)
    : config_(std::move(config)), storage_(storage), vision_(config_.vision, clip_vision_names(), weights, storage),
      text_(config_.text, clip_encoder_names("text_model"), weights, storage) {
  const LayerReader read{weights, storage, ""};
  const int64_t width = config_.text.width;
  token_embedding_ = read.tensor("text_model.embeddings.token_embedding.weight", {config_.vocabulary, width});
  text_positions_ = read.tensor("text_model.embeddings.position_embedding.weight", {config_.positions, width});
  text_norm_ = {read, "text_model.final_layer_norm", width};
  text_projection_ = read.linear("text_projection", config_.joint, width);
  visual_projection_ = read.linear("visual_projection", config_.joint, config_.vision.encoder.width);
  logit_scale_ = weights.small("logit_scale").reshape({});

  const auto parameter = [&](const char* name, ParameterSlot::Kind kind, at::Tensor& tensor) { places_.parameters.push_back({name, kind, &tensor}); };
  parameter("logit_scale", ParameterSlot::Kind::kOther, logit_scale_);
  parameter("text_model.embeddings.token_embedding.weight", ParameterSlot::Kind::kEmbedding, token_embedding_);
  parameter("text_model.embeddings.position_embedding.weight", ParameterSlot::Kind::kEmbedding, text_positions_);
  text_.add_places(places_);
  text_norm_.add_places(places_, "text_model.final_layer_norm");
  vision_.add_places(places_);
  places_.linears.push_back(&visual_projection_);
  places_.linears.push_back(&text_projection_);
}

at::Tensor ClipModel::image_features(const at::Tensor& images, const ForwardContext& context, const at::Tensor& prompt) const {
  const auto tokens = vision_.forward(images, context, prompt);
  return visual_projection_.forward(vision_.last_norm(tokens.select(1, 0)), context).to(at::kFloat);
}

at::Tensor ClipModel::embed(const at::Tensor& ids) const {
  if (ids.numel() > 0 && (ids.min().item<int64_t>() < 0 || ids.max().item<int64_t>() >= config_.vocabulary))
    throw InvalidArgument({.where = "token ids", .what = "lie outside the model's vocabulary",
                           .expected = "0.." + std::to_string(config_.vocabulary - 1), .hint = "the tokenizer must belong to the model"});
  return at::embedding(token_embedding_, ids);
}

at::Tensor ClipModel::text_features(const TextIds& texts, const ForwardContext& context, const at::Tensor& prompt) const {
  const auto all = packed(texts, config_);
  auto x = with_rows_replaced(embed(at::tensor(all.ids, at::kLong)), prompt, 1, all.lengths) +
           at::embedding(text_positions_, at::tensor(all.positions, at::kLong));
  x = text_.forward(x.to(storage_.compute), all.lengths, context).index_select(0, at::tensor(all.ends, at::kLong));
  return text_projection_.forward(text_norm_.forward(x, config_.text.norm_epsilon), context).to(at::kFloat);
}

at::Tensor unit_rows(const at::Tensor& x) { return x / x.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12); }

}  // namespace graft::peft
