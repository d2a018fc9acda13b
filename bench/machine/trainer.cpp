#include "bench/machine/trainer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "bench/machine/bench.h"
#include "peft_core/operations/adapter_mixture.h"

namespace graft::bench {
namespace {

std::string adapter_name(int64_t index) { return fmt::format("adapter{}", index); }

}  // namespace

StepData::StepData(const peft::DecoderConfig& config, int64_t count, int64_t each)
    : sequences(count), length(each), targets(at::randint(config.vocabulary, {count * each}, at::kLong)) {
  const auto ids = at::randint(config.vocabulary, {size()}, at::kInt);
  const std::vector<int32_t> lengths(static_cast<size_t>(sequences), static_cast<int32_t>(length));
  tokens = peft::TokenStream::of({ids.const_data_ptr<int32_t>(), static_cast<size_t>(size())}, lengths);
}

double step_flops(const peft::DecoderConfig& config, const StepData& data) {
  const auto product = [&](int64_t in, int64_t out) { return 2.0 * static_cast<double>(data.size() * in * out); };
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size, query = config.query_features();
  double layer = 7.0 * static_cast<double>(data.size() * (data.length + 1) * query);
  for (const auto& [in, out, count] : {std::tuple{hidden, query, 2}, {hidden, config.key_value_features(), 2}, {hidden, inner, 3}})
    layer += count * (2 * product(in, out) + 3 * (product(in, kRank) + product(kRank, out)));
  return static_cast<double>(config.layers) * layer + 2 * product(hidden, config.vocabulary);
}

OurTrainer::OurTrainer(const peft::DecoderConfig& config, const RandomWeights& weights, at::ScalarType dtype, int64_t adapters)
    : model_(config, weights, {.dtype = dtype, .quantize = peft::Quantize::kNone, .compute = dtype}), attachment_(attach(adapters)), adapters_(adapters) {
  std::vector<pipelines::ParameterGroup> groups;
  for (auto& group : attachment_->trainable()) groups.push_back({.name = group.name, .parameters = group.parameters});
  for (const auto& [name, factor] : attachment_->state()) {
    const at::NoGradGuard no_gradient;
    if (name.ends_with("lora_B.weight")) factor.copy_(random_tensor(factor.sizes(), at::kFloat, 0.01));  // zeros would run faster
  }
  optimizer_ = std::make_unique<pipelines::AdamW>(groups, pipelines::AdamWOptions{});
}

std::unique_ptr<peft::Attachment> OurTrainer::attach(int64_t adapters) {
  const auto method = ConfigNode::parse(fmt::format("{{name: lora, rank: {}, alpha: {}}}", kRank, kRank * kAdapterScale), "bench");
  const auto lora = [&] { return peft::find_method("lora").attach(model_.places(), method, 7); };
  if (adapters == 1) return lora();
  auto mixture = std::make_unique<peft::AdapterMixture>(model_.places());
  for (int64_t i = 0; i < adapters; ++i) mixture->add(adapter_name(i), 1, lora);
  return mixture;
}

std::shared_ptr<const peft::AdapterChoice> OurTrainer::choice(const StepData& data) const {
  if (adapters_ == 1) return nullptr;
  std::vector<peft::AdapterMixture::Weights> of_sequences;
  for (int64_t i = 0; i < data.sequences; ++i) of_sequences.push_back({{adapter_name(i % adapters_), 1.0}});
  const std::vector<int32_t> lengths(static_cast<size_t>(data.sequences), static_cast<int32_t>(data.length));
  return static_cast<const peft::AdapterMixture&>(*attachment_).choose(of_sequences, lengths);
}

double OurTrainer::step(const StepData& data) {
  const auto count = static_cast<double>(data.size());
  const auto loss = model_.loss_sum(model_.hidden_states(data.tokens, {.training = true, .dropout_seed = 0, .adapters = choice(data)}), data.targets);
  (loss / count).backward();
  optimizer_->collect_gradients();
  optimizer_->update(kLearningRate, pipelines::clip_factor(optimizer_->gradient_norm(), 1.0));
  return loss.item<double>() / count;
}

}  // namespace graft::bench
