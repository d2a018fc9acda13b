#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "bench/machine/bench.h"
#include "bench/machine/libtorch_decoder.h"
#include "kernels/base/error.h"
#include "peft_core/backbones/causal_lm.h"
#include "peft_core/methods/method.h"
#include "pipelines/optimizer.h"

namespace graft::bench {
namespace {

constexpr int64_t kSequences = 4, kLength = 512, kTokens = kSequences * kLength, kRank = 16;
constexpr double kRate = 1e-4, kScale = 2.0;  // alpha 32

/// FLOP that the step cannot do without: two products with each frozen matrix, six with each factor, attention's seven, the head's two.
double step_flops(const peft::DecoderConfig& config) {
  const auto product = [](int64_t in, int64_t out) { return 2.0 * kTokens * static_cast<double>(in * out); };
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size, query = config.query_features();
  double layer = 7.0 * static_cast<double>(kSequences * kLength * (kLength + 1) * query);
  for (const auto& [in, out, count] : {std::tuple{hidden, query, 2}, {hidden, config.key_value_features(), 2}, {hidden, inner, 3}})
    layer += count * (2 * product(in, out) + 3 * (product(in, kRank) + product(kRank, out)));
  return static_cast<double>(config.layers) * layer + 2 * product(hidden, config.vocabulary);
}

class OurTrainer {
 public:
  OurTrainer(const peft::DecoderConfig& config, const RandomWeights& weights, at::ScalarType dtype)
      : model_(config, weights, {.dtype = dtype, .quantize = peft::Quantize::kNone, .compute = dtype}) {
    const auto method = ConfigNode::parse(fmt::format("{{name: lora, rank: {}, alpha: {}}}", kRank, kRank * kScale), "bench");
    attachment_ = peft::find_method("lora").attach(model_.places(), method, 7);
    std::vector<pipelines::ParameterGroup> groups;
    for (auto& group : attachment_->trainable()) groups.push_back({.name = group.name, .parameters = group.parameters});
    for (const auto& [name, factor] : attachment_->state()) {
      const at::NoGradGuard no_gradient;
      if (name.ends_with("lora_B.weight")) factor.copy_(random_tensor(factor.sizes(), at::kFloat, 0.01));  // zeros would run faster
    }
    optimizer_ = std::make_unique<pipelines::AdamW>(groups, pipelines::AdamWOptions{});
  }

  std::map<std::string, at::Tensor> factors() const { return attachment_->state(); }

  double step(const peft::TokenStream& tokens, const at::Tensor& targets) {
    const auto loss = model_.loss_sum(model_.hidden_states(tokens, {.training = true, .dropout_seed = 0}), targets);
    (loss / static_cast<double>(kTokens)).backward();
    optimizer_->collect_gradients();
    optimizer_->update(kRate, pipelines::clip_factor(optimizer_->gradient_norm(), 1.0));
    return loss.item<double>() / static_cast<double>(kTokens);
  }

 private:
  peft::CausalLm model_;
  std::unique_ptr<peft::Attachment> attachment_;
  std::unique_ptr<pipelines::AdamW> optimizer_;
};

}  // namespace

void measure_step(Bench& bench) {
  bench.report.section("training step, SmolLM2-135M, LoRA r 16", "ours", "LibTorch");
  const auto config = smollm2_config();
  const RandomWeights weights(config, bench.dtype);
  OurTrainer ours(config, weights, bench.dtype);
  LibtorchTrainer theirs(config, weights, ours.factors(), kScale);
  const auto ids = at::randint(config.vocabulary, {kTokens}, at::kInt), targets = at::randint(config.vocabulary, {kTokens}, at::kLong);
  const std::vector<int32_t> lengths(kSequences, kLength);
  const auto tokens = peft::TokenStream::of({ids.const_data_ptr<int32_t>(), static_cast<size_t>(kTokens)}, lengths);
  double our_loss = 0, their_loss = 0;
  const auto turns = in_turns({[&] { our_loss = ours.step(tokens, targets); }},
                              {[&] { their_loss = theirs.step(tokens.ids, targets, kSequences, kRate); }},
                              {3 * bench.budget.seconds, bench.quick ? 2 : 4});
  // Both took the same number of steps; 30 layers of bf16 roundings at other places, and clipping on our side, move it in the third digit.
  if (!(std::abs(our_loss - their_loss) < 0.02 * their_loss))
    throw NumericalError({.where = "training step", .what = "the two sides' losses differ", .expected = fmt::format("{:.4f}", their_loss),
                          .got = fmt::format("{:.4f}", our_loss)});
  const double flops = step_flops(config);
  bench.report.add({.name = fmt::format("{} x {} tokens", kSequences, kLength), .turns = turns, .work = kTokens, .unit = "tokens/s",
                    .least_seconds = flops / bench.ceilings.products(),
                    .note = fmt::format("{:.0f} GFLOP; losses {:.4f} and {:.4f}", flops / 1e9, our_loss, their_loss)});
}

}  // namespace graft::bench
