#include "peft_core/backbones/causal_lm.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/ops/rms_norm_op.h"
#include "peft_core/memory/activation_checkpoint.h"
#include "peft_core/memory/move_in_place.h"

namespace graft::peft {
namespace {

constexpr int64_t kLogitRows = 256;  // rows of logits made at a time

/// What the head is told, which sees only some rows of the pass. Its adapter has no dropout.
ForwardContext head_context(const ForwardContext& context, const at::Tensor& rows) {
  return {.training = false, .dropout_seed = 0, .adapters = context.adapters == nullptr ? nullptr : context.adapters->of_rows(rows)};
}

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
  embedding_ = EmbeddingSlot("model.embed_tokens", weights.matrix(embedding, storage, /*quantizable=*/false), config_.tied_head);
  for (int64_t i = 0; i < config_.layers; ++i)
    layers_.push_back(std::make_unique<DecoderLayer>(config_, i, weights, storage));
  const std::string norm = "model.norm.weight";
  expect_shape(weights, norm, {config_.hidden_size});
  final_norm_ = weights.small(norm);
  if (!config_.tied_head) expect_shape(weights, head, table);
  head_ = LinearSlot("lm_head", config_.tied_head ? embedding_.base() : weights.matrix(head, storage, /*quantizable=*/false), {});

  for (auto& layer : layers_) layer->add_places(places_);
  places_.head = &head_;
  places_.embedding = &embedding_;
  places_.prompt = &prompt_;
  places_.parameters.push_back({"model.norm.weight", ParameterSlot::Kind::kNorm, &final_norm_});
}

void CausalLm::move_to(at::Device device) {
  device_ = device;
  for (const auto& slot : places_.parameters) move_in_place(*slot.tensor, device);
}

RotaryAngles CausalLm::angles(const at::Tensor& positions) const {
  const auto angle = at::outer(positions.to(at::kFloat), frequencies_);
  return {at::cos(angle).to(device_), at::sin(angle).to(device_)};
}

at::Tensor CausalLm::embed(const at::Tensor& ids) const {
  if (ids.numel() == 0) return at::empty({0, config_.hidden_size}, storage_.compute);
  const auto smallest = ids.min().item<int64_t>(), largest = ids.max().item<int64_t>();
  if (smallest < 0 || largest >= config_.vocabulary)
    throw InvalidArgument({.where = "token ids", .what = "lie outside the model's vocabulary",
                           .expected = "0.." + std::to_string(config_.vocabulary - 1),
                           .got = std::to_string(smallest < 0 ? smallest : largest),
                           .hint = "the tokenizer must belong to the model"});
  return embedding_.forward(ids, storage_.compute);
}

CausalLm::Entering CausalLm::entering(const TokenStream& tokens, bool begins) const {
  Entering input{embed(tokens.ids).to(device_), tokens.positions, tokens.lengths};
  const int64_t prefix = prefix_count(), prompt = prompt_.count();
  if (!begins || prefix + prompt == 0) return input;
  // Virtual tokens have the first positions; those of a prefix are never rotated, but counted.
  input.positions = input.positions + (prefix + prompt);
  if (prompt == 0) return input;
  input.x = with_rows_before(input.x, prompt_.tokens(), tokens.lengths);
  input.positions = with_rows_before(input.positions, at::arange(prefix, prefix + prompt, at::kLong), tokens.lengths);
  input.lengths = lengthened(tokens.lengths, prompt);
  return input;
}

SequenceCache CausalLm::cache_for(int64_t tokens) const {
  return SequenceCache::with_capacity(config_, tokens + prompt_.count() + prefix_count(), at::TensorOptions(storage_.compute).device(device_));
}

at::Tensor CausalLm::hidden_states(const TokenStream& tokens, const ForwardContext& context, Checkpointing checkpointing) const {
  const auto input = entering(tokens, /*begins=*/true);
  ResidualStream stream{input.x, {}};
  const auto angle = angles(input.positions);
  const bool again = checkpointing == Checkpointing::kEveryLayer && at::GradMode::is_enabled();
  if (again && !stream.x.requires_grad()) stream.x.requires_grad_();
  for (const auto& layer : layers_) {
    const auto run = [&layer = *layer, angle, lengths = input.lengths, context](const ResidualStream& before) {
      return layer.forward(before, angle, lengths, context);
    };
    if (again) {  // one tensor is kept a layer, so nothing may be pending there
      stream.x = checkpointed([run](const at::Tensor& x) { return run({x, {}}).whole(); }, stream.x);
    } else {
      stream = run(stream);
    }
  }
  return without_rows_before(stream.whole(), prompt_.count(), tokens.lengths);
}

CausalLm::Asked CausalLm::asked(const at::Tensor& hidden, const at::Tensor& targets) const {
  const auto rows = targets.ge(0).nonzero().squeeze(1);
  return {rows, ops::rms_norm(hidden.index_select(0, rows.to(device_)), final_norm_, config_.norm_epsilon),
          targets.index_select(0, rows).to(device_)};
}

ops::HeadRows CausalLm::head_rows() const {
  return [base = head_.base(), dtype = storage_.compute, device = device_](int64_t begin, int64_t count) {
    return base->rows(begin, count, dtype, device);
  };
}

at::Tensor CausalLm::loss_sum(const at::Tensor& hidden, const at::Tensor& targets, const ForwardContext& context) const {
  const auto [rows, input, wanted] = asked(hidden, targets);
  if (rows.numel() == 0) return hidden.sum().to(at::kFloat) * 0;
  if (head_.adapter() != nullptr) {
    // An adapted head has no fixed weight to walk; its logits are made whole.
    const auto logits = head_.forward(input, head_context(context, rows)).to(at::kFloat);
    return at::nll_loss(at::log_softmax(logits, 1), wanted, {}, at::Reduction::Sum);
  }
  return ops::head_loss(input, wanted, config_.vocabulary, head_rows());
}

at::Tensor CausalLm::target_nll(const at::Tensor& hidden, const at::Tensor& targets, at::Tensor* best, const ForwardContext& context) const {
  at::NoGradGuard no_gradient;
  const auto [rows, input, wanted] = asked(hidden, targets);
  at::Tensor nll;
  if (head_.adapter() != nullptr) {
    const auto logits = head_.forward(input, head_context(context, rows)).to(at::kFloat);
    if (best != nullptr) *best = logits.argmax(1);
    nll = at::nll_loss(at::log_softmax(logits, 1), wanted, {}, at::Reduction::None);
  } else {
    nll = ops::head_nll(input, wanted, config_.vocabulary, head_rows(), best);
  }
  if (best != nullptr) *best = best->cpu();
  return nll.cpu();
}

at::Tensor CausalLm::logits(const at::Tensor& hidden, const ForwardContext& context) const {
  at::NoGradGuard no_gradient;
  auto all = at::empty({hidden.size(0), config_.vocabulary}, at::kFloat);
  for (int64_t begin = 0; begin < hidden.size(0); begin += kLogitRows) {
    const int64_t count = std::min(kLogitRows, hidden.size(0) - begin);
    const auto normed = ops::rms_norm(hidden.narrow(0, begin, count), final_norm_, config_.norm_epsilon);
    all.narrow(0, begin, count).copy_(head_.forward(normed, head_context(context, at::arange(begin, begin + count, at::kLong))));
  }
  return all;
}

at::Tensor CausalLm::extend(const TokenStream& tokens, std::span<SequenceCache* const> caches, const ForwardContext& context) const {
  at::NoGradGuard no_gradient;
  const at::AutoDispatchBelowADInplaceOrView no_views;  // of one token, keeping book of them takes as long as many an operator
  GRAFT_ASSERT(caches.size() == tokens.lengths.size());
  const bool begins = std::all_of(caches.begin(), caches.end(), [](const auto* cache) { return cache->length == 0; });
  auto input = entering(tokens, begins);
  if (begins) {
    for (auto* cache : caches) begin(*cache);
  } else {
    input.positions = input.positions.clone();
    int64_t start = 0;
    for (size_t s = 0; s < caches.size(); ++s) {
      GRAFT_ASSERT(caches[s]->length > 0);
      input.positions.narrow(0, start, tokens.lengths[s]).add_(caches[s]->length);
      start += tokens.lengths[s];
    }
  }
  ResidualStream stream{input.x, {}};
  const auto angle = angles(input.positions);
  for (const auto& layer : layers_) stream = layer->extend(stream, angle, input.lengths, caches, context);
  for (size_t s = 0; s < caches.size(); ++s) caches[s]->length += input.lengths[s];
  return begins ? without_rows_before(stream.whole(), prompt_.count(), tokens.lengths) : stream.whole();
}

void CausalLm::begin(SequenceCache& cache) const {
  cache.length = prefix_count();
  for (auto& layer : cache.layers) layer.after_attention = layer.after_mlp = at::Tensor();
  if (cache.length == 0) return;
  for (size_t i = 0; i < cache.layers.size(); ++i) {
    cache.layers[i].keys.narrow(0, 0, cache.length).copy_(places_.prefixes[i]->keys);
    cache.layers[i].values.narrow(0, 0, cache.length).copy_(places_.prefixes[i]->values);
  }
}

std::vector<std::pair<std::string, std::shared_ptr<const FrozenLinear>>> CausalLm::frozen_matrices() const {
  std::vector<std::pair<std::string, std::shared_ptr<const FrozenLinear>>> all{{embedding_.name(), embedding_.base()}};
  for (const auto* slot : places_.linears) all.emplace_back(slot->name(), slot->base());
  if (!config_.tied_head) all.emplace_back("lm_head", head_.base());
  return all;
}

}  // namespace graft::peft
