#include <ATen/ATen.h>

#include <cmath>

#include "bench/machine/bench.h"
#include "kernels/ops/attention_op.h"

namespace graft::bench {
namespace {

constexpr int64_t kHeads = 9, kKeyHeads = 3, kWidth = 64;  // SmolLM2-135M
constexpr double kForwardTarget = 2.5, kBackwardTarget = 6.0;
constexpr double kRoundings = 0.02;  // probabilities and results in bf16, at other places

struct Case {
  int64_t sequences, length;
  std::string name() const { return std::to_string(sequences) + " x " + std::to_string(length); }
  int64_t tokens() const { return sequences * length; }
  /// Of one product of queries with keys, the lower triangle alone.
  double flops() const { return static_cast<double>(sequences * length * (length + 1) * kHeads * kWidth); }
};

enum class Groups { kRepeatKeys, kOperatorsOwn };

/// q (N, Hq, D), k, v (N, Hk, D) -> (N, Hq, D), as a model on LibTorch alone would do it.
at::Tensor with_libtorch(const Case& of, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, Groups groups) {
  const auto heads_first = [&](const at::Tensor& x) { return x.view({of.sequences, of.length, x.size(1), kWidth}).transpose(1, 2); };
  const auto keys = [&](const at::Tensor& x) {
    return groups == Groups::kRepeatKeys ? heads_first(x.repeat_interleave(kHeads / kKeyHeads, 1)) : heads_first(x);
  };
  const auto out = at::scaled_dot_product_attention(heads_first(q), keys(k), keys(v), {}, 0.0, /*is_causal=*/true, std::nullopt,
                                                    groups == Groups::kOperatorsOwn);
  return out.transpose(1, 2).reshape(q.sizes());
}

void measure_case(Bench& bench, const Case& of) {
  const auto leaf = [&](int64_t heads) { return random_tensor({of.tokens(), heads, kWidth}, bench.dtype).requires_grad_(); };
  const auto q = leaf(kHeads), k = leaf(kKeyHeads), v = leaf(kKeyHeads);
  const auto g = random_tensor(q.sizes(), bench.dtype);
  const std::vector<at::Tensor> inputs = {q, k, v};
  const auto their_leaf = [&](const at::Tensor& x) { return x.detach().to(bench.libtorch_dtype).requires_grad_(); };
  const std::vector<at::Tensor> their_inputs = {their_leaf(q), their_leaf(k), their_leaf(v)};
  const auto their_g = g.to(bench.libtorch_dtype);
  const std::vector<int32_t> lengths(static_cast<size_t>(of.sequences), static_cast<int32_t>(of.length));
  const ops::AttentionShape shape{.scale = 1 / std::sqrt(static_cast<double>(kWidth))};
  const auto ours = [&] { return ops::attention(q, k, v, lengths, shape); };
  const auto with = [&](Groups groups) { return with_libtorch(of, their_inputs[0], their_inputs[1], their_inputs[2], groups); };
  const bool repeats = best_of(3, [&] { with(Groups::kRepeatKeys); }) < best_of(3, [&] { with(Groups::kOperatorsOwn); });
  const auto theirs = [&] { return with(repeats ? Groups::kRepeatKeys : Groups::kOperatorsOwn); };
  const auto our_out = ours(), their_out = theirs();
  expect_alike("attention " + of.name(), our_out, their_out, kRoundings);
  const auto our_gradients = gradients(our_out, inputs, g), their_gradients = gradients(their_out, their_inputs, their_g);
  for (size_t i = 0; i < inputs.size(); ++i) expect_alike("gradient of attention " + of.name(), our_gradients[i], their_gradients[i], kRoundings);

  const double forward = 2 * of.flops(), backward = 5 * of.flops();
  bench.report.add({.name = of.name() + ", forward", .turns = in_turns({ours}, {theirs}, bench.budget), .work = forward,
                    .least_seconds = forward / bench.ceilings.products(), .target = kForwardTarget,
                    .note = repeats ? "theirs with keys repeated" : "theirs with enable_gqa"});
  bench.report.add({.name = of.name() + ", backward",
                    .turns = in_turns({[&] { gradients(our_out, inputs, g); }}, {[&] { gradients(their_out, their_inputs, their_g); }}, bench.budget),
                    .work = backward, .least_seconds = backward / bench.ceilings.products(), .target = kBackwardTarget});
}

}  // namespace

void measure_attention(Bench& bench) {
  bench.report.section("attention, heads 9/3 x 64, causal", "ours", "LibTorch SDPA");
  for (const auto& of : {Case{1, 2048}, Case{4, 512}}) measure_case(bench, of);
}

}  // namespace graft::bench
