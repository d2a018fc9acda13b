#include "pipelines/language/generation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/base/error.h"
#include "peft_core/base/rng.h"

namespace graft::pipelines {
namespace {

using data::TokenId;

/// Index drawn from softmax(logits / temperature), cut to top_k and top_p.
TokenId sample(std::span<const float> logits, const SamplingOptions& options, RandomStream random) {
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto likelier = [&](TokenId a, TokenId b) { return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)]; };
  std::sort(order.begin(), order.end(), likelier);
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < order.size()) order.resize(static_cast<size_t>(options.top_k));

  const double top = logits[static_cast<size_t>(order.front())];
  std::vector<double> weights;
  for (const auto id : order) weights.push_back(std::exp((logits[static_cast<size_t>(id)] - top) / options.temperature));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double kept = 0;
  size_t count = 0;
  while (count < weights.size() && kept < options.top_p * total) kept += weights[count++];
  double point = random.uniform() * kept;
  for (size_t i = 0; i < count; ++i)
    if ((point -= weights[i]) < 0) return order[i];
  return order[count - 1];
}

/// One prompt on its way.
struct Continuation {
  size_t number = 0;
  peft::SequenceCache cache;
  std::vector<TokenId> produced;
  TokenId next = 0;       ///< chosen but not yet run through the model
  bool running = true;
};

class Generator {
 public:
  Generator(const peft::CausalLm& model, std::span<const TokenId> stop, const SamplingOptions& options, const OnToken& on_token)
      : model_(model), stop_(stop), options_(options), on_token_(on_token) {}

  Continuation start(size_t number, const std::vector<TokenId>& prompt) {
    if (prompt.empty()) throw InvalidArgument({.where = "prompt", .what = "is empty"});
    Continuation c{.number = number, .cache = {}, .produced = {}};
    const auto length = static_cast<int64_t>(prompt.size());
    c.cache = model_.cache_for(length + options_.max_new_tokens);
    const std::vector<int32_t> lengths{static_cast<int32_t>(length)};
    peft::SequenceCache* caches[] = {&c.cache};
    const size_t numbers[] = {number};
    const auto hidden = model_.extend(peft::TokenStream::of(prompt, lengths), caches, context_of(numbers, lengths));
    const std::vector<int32_t> last{1};
    choose(c, model_.logits(hidden.narrow(0, length - 1, 1), context_of(numbers, last)));
    return c;
  }

  void step(std::span<Continuation* const> running) {
    std::vector<TokenId> ids;
    std::vector<peft::SequenceCache*> caches;
    std::vector<size_t> numbers;
    for (auto* c : running) ids.push_back(c->next), caches.push_back(&c->cache), numbers.push_back(c->number);
    const std::vector<int32_t> lengths(running.size(), 1);
    const auto context = context_of(numbers, lengths);
    const auto logits = model_.logits(model_.extend(peft::TokenStream::of(ids, lengths), caches, context), context);
    for (size_t i = 0; i < running.size(); ++i) choose(*running[i], logits.narrow(0, static_cast<int64_t>(i), 1));
  }

 private:
  /// The adapters of prompts that lie end to end, with so many tokens each.
  peft::ForwardContext context_of(std::span<const size_t> prompts, std::span<const int32_t> lengths) const {
    if (options_.adapters.empty()) return {};
    std::vector<peft::AdapterWeights> weights;
    for (const auto number : prompts) weights.push_back(options_.adapters.at(number));
    return {.adapters = peft::AdapterChoice::for_sequences(weights, lengths)};
  }

  void choose(Continuation& c, const at::Tensor& logits) {
    if (static_cast<int64_t>(c.produced.size()) >= options_.max_new_tokens) return void(c.running = false);
    const auto count = options_.vocabulary > 0 ? std::min(options_.vocabulary, logits.numel()) : logits.numel();
    const std::span values(logits.const_data_ptr<float>(), static_cast<size_t>(count));
    if (options_.temperature > 0) {
      const RandomStream random(options_.seed, "generate " + std::to_string(c.number), c.produced.size());
      c.next = sample(values, options_, random);
    } else {
      c.next = static_cast<TokenId>(std::max_element(values.begin(), values.end()) - values.begin());
    }
    if (std::find(stop_.begin(), stop_.end(), c.next) != stop_.end()) return void(c.running = false);
    c.produced.push_back(c.next);
    if (on_token_ && !on_token_(c.number, c.next)) c.running = false;
    if (static_cast<int64_t>(c.produced.size()) >= options_.max_new_tokens) c.running = false;
  }

  const peft::CausalLm& model_;
  std::span<const TokenId> stop_;
  const SamplingOptions& options_;
  const OnToken& on_token_;
};

}  // namespace

std::vector<std::vector<TokenId>> generate(const peft::CausalLm& model, const std::vector<std::vector<TokenId>>& prompts,
                                           std::span<const TokenId> stop, const SamplingOptions& options, const OnToken& on_token) {
  if (!(options.temperature >= 0)) throw InvalidArgument({.where = "--temperature", .what = "is below 0"});
  if (!options.adapters.empty() && options.adapters.size() != prompts.size())
    throw InvalidArgument({.where = "adapters", .what = "need one choice for each prompt", .expected = std::to_string(prompts.size()),
                           .got = std::to_string(options.adapters.size())});
  Generator generator(model, stop, options, on_token);
  std::vector<Continuation> all;
  all.reserve(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) all.push_back(generator.start(i, prompts[i]));
  for (;;) {
    std::vector<Continuation*> running;
    for (auto& c : all)
      if (c.running) running.push_back(&c);
    if (running.empty()) break;
    generator.step(running);
  }
  std::vector<std::vector<TokenId>> produced;
  for (auto& c : all) produced.push_back(std::move(c.produced));
  return produced;
}

}  // namespace graft::pipelines
