#include "peft_core/backbones/causal_lm.h"

#include "kernels/base/error.h"
#include "kernels/ops/head_loss_op.h"
#include "kernels/ops/rms_norm_op.h"
#include "peft_core/memory/activation_checkpoint.h"

namespace graft::peft {
namespace {

constexpr int64_t kLogitRows = 256;  // rows of logits made at a time

}  // namespace

TokenStream TokenStream::of(std::span<const int32_t> ids, std::span<const int32_t> lengths) {
  TokenStream stream;
  stream.ids = at::tensor(at::ArrayRef<int32_t>(ids.data(), ids.size()), at::kInt).to(at::kLong);
  stream.lengths.assign(lengths.begin(), lengths.end());
  std::vector<at::Tensor> positions;
  for (const auto length : lengths) positions.push_back(at::arange(length, at::kLong));
  stream.positions = positions.empty() ? at::empty({0}, at::kLong) : at::cat(positions);
  GRAFT_ASSERT(stream.positions.size(0) == stream.ids.size(0));
  return stream;
}

CausalLm::CausalLm(DecoderConfig config, const WeightSource& weights, const BaseStorage& storage)
    : config_(std::move(config)), storage_(storage) {
  const auto frequencies = rotary_frequencies(config_);
  frequencies_ = at::tensor(at::ArrayRef<float>(frequencies), at::kFloat);

  const std::string embedding = "model.embed_tokens.weight", head = "lm_head.weight";
  const std::vector<int64_t> table = {config_.vocabulary, config_.hidden_size};
  expect_shape(weights, embedding, table);
  embedding_ = weights.matrix(embedding, storage, /*quantizable=*/false);
  for (int64_t i = 0; i < config_.layers; ++i)
    layers_.push_back(std::make_unique<DecoderLayer>(config_, i, weights, storage));
  const std::string norm = "model.norm.weight";
  expect_shape(weights, norm, {config_.hidden_size});
  final_norm_ = weights.small(norm);
  if (!config_.tied_head) expect_shape(weights, head, table);
  head_ = LinearSlot("lm_head", config_.tied_head ? embedding_ : weights.matrix(head, storage, /*quantizable=*/false), {});

  for (auto& layer : layers_) layer->add_places(places_);
  places_.head = &head_;
  places_.parameters.push_back({"model.norm.weight", ParameterSlot::Kind::kNorm, &final_norm_});
}

RotaryAngles CausalLm::angles(const at::Tensor& positions) const {
  const auto angle = at::outer(positions.to(at::kFloat), frequencies_);
  return {at::cos(angle), at::sin(angle)};
}

at::Tensor CausalLm::embed(const at::Tensor& ids) const {
  if (ids.numel() == 0) return at::empty({0, config_.hidden_size}, storage_.compute);
  const auto smallest = ids.min().item<int64_t>(), largest = ids.max().item<int64_t>();
  if (smallest < 0 || largest >= config_.vocabulary)
    throw InvalidArgument({.where = "token ids", .what = "lie outside the model's vocabulary",
                           .expected = "0.." + std::to_string(config_.vocabulary - 1),
                           .got = std::to_string(smallest < 0 ? smallest : largest),
                           .hint = "the tokenizer must belong to the model"});
  return embedding_->gather(ids, storage_.compute);
}

at::Tensor CausalLm::hidden_states(const TokenStream& tokens, const ForwardContext& context, Checkpointing checkpointing) const {
  ResidualStream stream{embed(tokens.ids), {}};
  const auto angle = angles(tokens.positions);
  const bool again = checkpointing == Checkpointing::kEveryLayer && at::GradMode::is_enabled();
  if (again) stream.x.requires_grad_();
  for (const auto& layer : layers_) {
    const auto run = [&layer = *layer, angle, lengths = tokens.lengths, context](const ResidualStream& input) {
      return layer.forward(input, angle, lengths, context);
    };
    if (again) {  // one tensor is kept a layer, so nothing may be pending there
      stream.x = checkpointed([run](const at::Tensor& x) { return run({x, {}}).whole(); }, stream.x);
    } else {
      stream = run(stream);
    }
  }
  return stream.whole();
}

at::Tensor CausalLm::head_input(const at::Tensor& hidden, const at::Tensor& rows) const {
  return ops::rms_norm(hidden.index_select(0, rows), final_norm_, config_.norm_epsilon);
}

at::Tensor CausalLm::loss_sum(const at::Tensor& hidden, const at::Tensor& targets) const {
  const auto rows = targets.ge(0).nonzero().squeeze(1);
  if (rows.numel() == 0) return hidden.sum().to(at::kFloat) * 0;
  const auto input = head_input(hidden, rows);
  const auto wanted = targets.index_select(0, rows);
  if (head_.adapter() != nullptr) {
    // An adapted head has no fixed weight to walk; its logits are made whole.
    const auto logits = head_.forward(input, {}).to(at::kFloat);
    return at::nll_loss(at::log_softmax(logits, 1), wanted, {}, at::Reduction::Sum);
  }
  const auto base = head_.base();
  return ops::head_loss(input, wanted, config_.vocabulary,
                        [base, dtype = storage_.compute](int64_t begin, int64_t count) { return base->rows(begin, count, dtype); });
}

at::Tensor CausalLm::target_nll(const at::Tensor& hidden, const at::Tensor& targets, at::Tensor* best) const {
  at::NoGradGuard no_gradient;
  const auto rows = targets.ge(0).nonzero().squeeze(1);
  const auto input = head_input(hidden, rows);
  const auto wanted = targets.index_select(0, rows);
  if (head_.adapter() != nullptr) {
    const auto logits = head_.forward(input, {}).to(at::kFloat);
    if (best != nullptr) *best = logits.argmax(1);
    return at::nll_loss(at::log_softmax(logits, 1), wanted, {}, at::Reduction::None);
  }
  return ops::head_nll(
      input, wanted, config_.vocabulary,
      [this](int64_t begin, int64_t count) { return head_.base()->rows(begin, count, storage_.compute); }, best);
}

at::Tensor CausalLm::logits(const at::Tensor& hidden) const {
  at::NoGradGuard no_gradient;
  auto all = at::empty({hidden.size(0), config_.vocabulary}, at::kFloat);
  for (int64_t begin = 0; begin < hidden.size(0); begin += kLogitRows) {
    const int64_t count = std::min(kLogitRows, hidden.size(0) - begin);
    const auto normed = ops::rms_norm(hidden.narrow(0, begin, count), final_norm_, config_.norm_epsilon);
    all.narrow(0, begin, count).copy_(head_.forward(normed, {}));
  }
  return all;
}

at::Tensor CausalLm::extend(const TokenStream& tokens, std::span<SequenceCache* const> caches) const {
  at::NoGradGuard no_gradient;
  GRAFT_ASSERT(caches.size() == tokens.lengths.size());
  auto positions = tokens.positions.clone();
  int64_t start = 0;
  for (size_t s = 0; s < caches.size(); ++s) {
    positions.narrow(0, start, tokens.lengths[s]).add_(caches[s]->length);
    start += tokens.lengths[s];
  }
  ResidualStream stream{embed(tokens.ids), {}};
  const auto angle = angles(positions);
  for (const auto& layer : layers_) stream = layer->extend(stream, angle, tokens.lengths, caches);
  for (size_t s = 0; s < caches.size(); ++s) caches[s]->length += tokens.lengths[s];
  return stream.whole();
}

std::vector<std::pair<std::string, std::shared_ptr<const FrozenLinear>>> CausalLm::frozen_matrices() const {
  std::vector<std::pair<std::string, std::shared_ptr<const FrozenLinear>>> all{{"model.embed_tokens", embedding_}};
  for (const auto* slot : places_.linears) all.emplace_back(slot->name(), slot->base());
  if (!config_.tied_head) all.emplace_back("lm_head", head_.base());
  return all;
}

}  // namespace graft::peft
