#include "peft_core/methods/sequence/state_space_scan.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

namespace graft::peft {
namespace {

/// The recurrence as it is written, row by row.
at::Tensor recurrence(const at::Tensor& v, const at::Tensor& log_decay, const std::vector<int32_t>& lengths) {
  const auto decay = at::exp(log_decay);
  std::vector<at::Tensor> states;
  int64_t row = 0;
  for (const auto length : lengths)
    for (int32_t t = 0; t < length; ++t, ++row) states.push_back(t == 0 ? v[row] : decay * states.back() + v[row]);
  return states.empty() ? v : at::stack(states);
}

/// From modes that forget within a step to those that remember 10,000.
at::Tensor decays(int64_t d, at::ScalarType dtype) { return -at::logspace(-4, 0.5, d, 10.0, at::TensorOptions().dtype(dtype)); }

double difference(const at::Tensor& a, const at::Tensor& b) { return ((a - b).abs().max() / b.abs().max()).item<double>(); }

TEST(StateSpaceScan, EqualsTheRecurrence) {
  at::manual_seed(5);
  const std::vector<std::vector<int32_t>> cases = {{1}, {2}, {3}, {7, 1, 12}, {64}, {65}, {0, 5, 0}, {1, 1, 1}, {127, 128, 129}, {1009, 3}};
  for (const auto& lengths : cases) {
    int64_t rows = 0;
    for (const auto length : lengths) rows += length;
    const auto v = at::randn({rows, 6}, at::kDouble), log_decay = decays(6, at::kDouble);
    EXPECT_LT(difference(state_space_scan(v, log_decay, lengths), recurrence(v, log_decay, lengths)), 1e-12) << rows;
  }
  EXPECT_EQ(state_space_scan(at::zeros({0, 6}), decays(6, at::kFloat), {}).size(0), 0);
}

TEST(StateSpaceScan, EqualsTheRecurrenceInFp32At4096Steps) {
  at::manual_seed(6);
  const auto v = at::randn({4096, 32}), log_decay = decays(32, at::kFloat);
  const std::vector<int32_t> lengths{4096};
  const auto exact = recurrence(v.to(at::kDouble), log_decay.to(at::kDouble), lengths);
  EXPECT_LT(difference(state_space_scan(v, log_decay, lengths).to(at::kDouble), exact), 1e-5);  // the bound
}

TEST(StateSpaceScan, GradientsAreThoseOfTheRecurrence) {
  at::manual_seed(7);
  const std::vector<int32_t> lengths{5, 1, 13};
  const auto weights = at::randn({19, 4}, at::kDouble), start = at::randn({19, 4}, at::kDouble);
  std::vector<at::Tensor> gradients;
  for (const auto scan : {+[](const at::Tensor& v, const at::Tensor& d, const std::vector<int32_t>& l) { return state_space_scan(v, d, l); }, +recurrence}) {
    const auto v = start.clone().requires_grad_(), log_decay = decays(4, at::kDouble).requires_grad_();
    torch::autograd::backward({(scan(v, log_decay, lengths) * weights).sum()});
    gradients.push_back(v.grad());
    gradients.push_back(log_decay.grad());
  }
  EXPECT_LT(difference(gradients[0], gradients[2]), 1e-12);
  EXPECT_LT(difference(gradients[1], gradients[3]), 1e-12);
}

TEST(StateSpaceScan, PiecesWithCarriedStatesAreTheWhole) {
  at::manual_seed(8);
  const auto v = at::randn({20, 3}, at::kDouble), log_decay = decays(3, at::kDouble);
  const std::vector<int32_t> whole{12, 8}, first{5, 8}, second{7, 0};
  const auto expected = state_space_scan(v, log_decay, whole);
  const auto head = state_space_scan(at::cat({v.narrow(0, 0, 5), v.narrow(0, 12, 8)}), log_decay, first);
  const auto initial = at::stack({head[4], head[12]});
  const auto rest = state_space_scan(v.narrow(0, 5, 7), log_decay, second) + carried_states(initial, log_decay, second);
  EXPECT_LT(difference(rest, expected.narrow(0, 5, 7)), 1e-12);
}

TEST(StateSpaceScan, LaterRowsAndOtherSequencesChangeNothing) {
  const auto v = at::randn({9, 2}), log_decay = decays(2, at::kFloat);
  auto changed = v.clone();
  changed.narrow(0, 3, 6).add_(10);
  const std::vector<int32_t> lengths{5, 4};
  const auto one = state_space_scan(v, log_decay, lengths), other = state_space_scan(changed, log_decay, lengths);
  // An FFT mixes all rows before it takes them apart again, so zeros stand to fp32's rounding of the large rows: 30 · 2^-24 · 4.
  EXPECT_LT((one.narrow(0, 0, 3) - other.narrow(0, 0, 3)).abs().max().item<double>(), 1e-5);
  EXPECT_GT((one.narrow(0, 3, 1) - other.narrow(0, 3, 1)).abs().max().item<double>(), 1);
}

}  // namespace
}  // namespace graft::peft
