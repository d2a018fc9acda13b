#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "bench/machine/bench.h"
#include "bench/machine/libtorch_head.h"
#include "kernels/ops/head_loss_op.h"
#include "peft_core/slots/frozen_linear.h"

namespace graft::bench {
namespace {

constexpr int64_t kRows = 2048;
constexpr double kTarget = 4.0;
constexpr double kRoundings = 0.02;  // probabilities in bf16 on both sides, at other places

void measure_shape(Bench& bench, const std::string& name, int64_t width, int64_t vocabulary) {
  const auto hidden = random_tensor({kRows, width}, bench.dtype).requires_grad_();
  const auto weight = random_tensor({vocabulary, width}, bench.dtype, 0.05);
  const auto targets = at::randint(vocabulary, {kRows}, at::kLong);
  const auto head = peft::dense_linear(weight);
  const ops::HeadRows rows = [&](int64_t begin, int64_t count) { return head->rows(begin, count, bench.dtype); };
  const auto one = at::ones({}, at::kFloat);
  const auto ours = [&] { return gradients(ops::head_loss(hidden, targets, vocabulary, rows), {hidden}, one).front(); };
  const auto values = hidden.detach().to(bench.libtorch_dtype), their_weight = weight.to(bench.libtorch_dtype);
  const int64_t chunk = best_chunk(values, their_weight, targets);
  const auto theirs = [&] { return head_with_libtorch(values, their_weight, targets, chunk); };
  const auto expected = theirs();
  expect_alike("loss of " + name, ops::head_loss(hidden, targets, vocabulary, rows), expected.nll.sum(), 0.001);
  expect_alike("gradient of " + name, ours(), expected.gradient, kRoundings);

  const double flops = 4.0 * kRows * static_cast<double>(width * vocabulary);
  const auto scratch = static_cast<double>(ops::head_loss_bytes(kRows, width, vocabulary, bench.dtype));
  // A chunk's logits in fp32 and in their own dtype.
  const double logits = static_cast<double>(chunk * vocabulary) * (4.0 + static_cast<double>(values.element_size()));
  bench.report.add({.name = fmt::format("{} x {} x {}", kRows, width, vocabulary),
                    .turns = in_turns({ours}, {theirs}, {bench.budget.seconds, std::min(bench.budget.least_rounds, 3)}), .work = flops,
                    .least_seconds = flops / bench.ceilings.products(), .target = kTarget,
                    .note = fmt::format("takes {:.0f} MB, theirs {:.0f} MB in chunks of {} rows", scratch / 1e6, logits / 1e6, chunk)});
}

}  // namespace

void measure_head(Bench& bench) {
  bench.report.section("head and loss, with gradient", "ours", "LibTorch, chunks");
  measure_shape(bench, "SmolLM2-135M's head", 576, 49152);
  measure_shape(bench, "Qwen2.5-0.5B's head", 896, 151936);
}

}  // namespace graft::bench
