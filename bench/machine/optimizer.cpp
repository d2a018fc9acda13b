#include "pipelines/optimizer.h"

#include <ATen/ATen.h>

#include "bench/machine/bench.h"

namespace graft::bench {
namespace {

constexpr double kRate = 1e-4;
const pipelines::AdamWOptions kOptions;

/// Factors of a LoRA of rank 16 on SmolLM2-135M: 420 tensors, 4.9 million values.
std::vector<at::Tensor> factors() {
  const std::pair<int64_t, int64_t> shapes[] = {{576, 576}, {576, 192}, {576, 192}, {576, 576}, {576, 1536}, {576, 1536}, {1536, 576}};
  std::vector<at::Tensor> all;
  for (int layer = 0; layer < 30; ++layer) {
    for (const auto& [in, out] : shapes) {
      all.push_back(random_tensor({16, in}, at::kFloat, 0.02));
      all.push_back(random_tensor({out, 16}, at::kFloat, 0.02));
    }
  }
  return all;
}

std::vector<at::Tensor> copies(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> all;
  for (const auto& tensor : tensors) all.push_back(tensor.clone());
  return all;
}

std::vector<at::Tensor> zeros(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> all;
  for (const auto& tensor : tensors) all.push_back(at::zeros_like(tensor));
  return all;
}

void copy_into(const std::vector<at::Tensor>& to, const std::vector<at::Tensor>& from) {
  for (size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
}

}  // namespace

void measure_optimizer(Bench& bench) {
  bench.report.section("AdamW, 420 tensors", "ours", "LibTorch fused");
  const auto start = factors(), fresh = copies(start);
  auto theirs = copies(start), gradient = zeros(start), first = zeros(start), second = zeros(start);
  std::vector<at::Tensor> steps, ours = copies(start);
  pipelines::ParameterGroup group{.name = "lora", .parameters = {}};
  double values = 0;
  for (auto& parameter : ours) {
    parameter.requires_grad_();
    group.parameters.emplace_back(std::to_string(steps.size()), parameter);
    steps.push_back(at::zeros({}, at::kFloat));
    values += static_cast<double>(parameter.numel());
  }
  pipelines::AdamW optimizer({group}, kOptions);
  const Side our_side{[&] { optimizer.update(kRate, 1.0); },
                      [&] {
                        for (size_t i = 0; i < ours.size(); ++i) ours[i].mutable_grad() = fresh[i].clone();  // as backward leaves it
                        optimizer.collect_gradients();
                      }};
  const Side their_side{[&] {
                          at::_foreach_add_(steps, 1);
                          at::_fused_adamw_(theirs, gradient, first, second, {}, steps, kRate, kOptions.beta1, kOptions.beta2,
                                            kOptions.weight_decay, kOptions.epsilon, /*amsgrad=*/false, /*maximize=*/false);
                          at::_foreach_zero_(gradient);
                        },
                        [&] { copy_into(gradient, fresh); }};
  const auto turns = in_turns(our_side, their_side, bench.budget);
  expect_alike("AdamW", ours.back(), theirs.back(), 1e-4);
  bench.report.add({.name = "update, gradients zeroed", .turns = turns, .work = 8 * 4 * values, .unit = "GB/s",
                    .least_seconds = bench.ceilings.memory_seconds(16 * values, 16 * values)});
}

}  // namespace graft::bench
