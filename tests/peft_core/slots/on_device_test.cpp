#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "kernels/ops/attention_op.h"
#include "kernels/ops/gelu_op.h"
#include "kernels/ops/head_loss_op.h"
#include "kernels/ops/layer_norm_op.h"
#include "kernels/ops/rms_norm_op.h"
#include "kernels/ops/rotary_op.h"
#include "kernels/ops/swiglu_op.h"
#include "peft_core/slots/frozen_linear.h"
#include "peft_core/slots/quantized_linear.h"
#include "tests/support/gradcheck.h"
#include "tests/support/pretend_device.h"
#include "tests/support/tiny_decoder.h"

// Operators and frozen weights in a device's memory beside the same in the processor's, fp32. Both round each value as fp32 and sum at most
// some hundred terms, in another order: 2^-18 of the largest value is 64 roundings, and a wrong index is far beyond it.
namespace graft::peft {
namespace {

using testing::pretend_device;
using testing::pretend_launches;
using testing::relative_error;

constexpr double kTolerance = 0x1p-18;

at::Tensor normal(at::IntArrayRef sizes, uint64_t seed) {
  return at::randn(sizes, at::make_generator<at::CPUGeneratorImpl>(seed), at::TensorOptions().dtype(at::kFloat));
}

using Inputs = std::vector<at::Tensor>;
using Function = std::function<at::Tensor(const Inputs&)>;

struct Results {
  at::Tensor y;
  Inputs gradients;
};

/// Values and the gradients of all inputs with copies of them on `device`; results on the processor.
Results on(at::Device device, const Function& f, const Inputs& inputs) {
  Inputs leaves;
  for (const auto& input : inputs) leaves.push_back(input.detach().to(device).requires_grad_());
  const auto y = f(leaves);
  EXPECT_EQ(y.device(), device);
  y.backward(normal(y.sizes(), 99).to(device));
  Results results{y.detach().to(at::kCPU), {}};
  for (const auto& leaf : leaves) results.gradients.push_back(leaf.grad().to(at::kCPU));
  return results;
}

void expect_alike(const Function& f, const Inputs& inputs, int64_t launches) {
  const auto expected = on(at::kCPU, f, inputs);
  const auto before = pretend_launches();
  const auto got = on(pretend_device(), f, inputs);
  EXPECT_GE(pretend_launches() - before, launches);
  EXPECT_LE(relative_error(got.y, expected.y), kTolerance);
  for (size_t i = 0; i < inputs.size(); ++i) EXPECT_LE(relative_error(got.gradients[i], expected.gradients[i]), kTolerance) << "input " << i;
}

TEST(OnDevice, WhatIsNotAnOperatorCannotTouchTheMemory) {
  const auto there = normal({4}, 1).to(pretend_device());
  EXPECT_DEATH((void)*static_cast<volatile const char*>(there.const_data_ptr()), "");
}

TEST(OnDevice, NormsAreThoseOfTheProcessor) {
  for (const int64_t rows : {1, 37}) {
    const Inputs norm{normal({rows, 72}, 1), normal({72}, 2), normal({72}, 3)};
    expect_alike([](const Inputs& in) { return ops::rms_norm(in[0], in[1], 1e-5); }, {norm[0], norm[1]}, 2);
    expect_alike([](const Inputs& in) { return ops::layer_norm(in[0], in[1], in[2], 1e-5); }, norm, 2);
    const Inputs added{normal({rows, 72}, 1), normal({rows, 72}, 2), normal({72}, 3)};
    expect_alike(
        [](const Inputs& in) {
          const auto [sum, read] = ops::add_rms_norm(in[0], in[1], in[2], 1e-5, 2);
          return sum + read[0] * 2 - read[1];
        },
        added, 2);
  }
}

TEST(OnDevice, ActivationsAndRotationAreThoseOfTheProcessor) {
  expect_alike([](const Inputs& in) { return ops::swiglu(in[0], in[1]); }, {normal({5, 37}, 1), normal({5, 37}, 2)}, 2);
  expect_alike([](const Inputs& in) { return ops::gelu(in[0], kernels::Gelu::kExact); }, {normal({5, 37}, 1)}, 2);
  const auto angle = normal({9, 4}, 3);
  expect_alike(
      [&](const Inputs& in) { return ops::rotary(in[0], angle.cos().to(in[0].device()), angle.sin().to(in[0].device())); },
      {normal({9, 3, 8}, 1)}, 2);
}

struct AttentionCase {
  ops::AttentionShape shape;
  std::vector<int32_t> lengths;
};

class AttentionOnDevice : public ::testing::TestWithParam<AttentionCase> {};
INSTANTIATE_TEST_SUITE_P(Shapes, AttentionOnDevice,
                         ::testing::Values(AttentionCase{{.causal = true, .window = 0, .scale = 0.3}, {19}},
                                           AttentionCase{{.causal = true, .window = 0, .scale = 0.3}, {7, 1, 0, 12}},
                                           AttentionCase{{.causal = true, .window = 5, .scale = 0.3}, {7, 1, 12}},
                                           AttentionCase{{.causal = false, .window = 0, .scale = 0.3}, {6, 9}}));

TEST_P(AttentionOnDevice, IsThatOfTheProcessor) {
  const auto& [shape, lengths] = GetParam();
  int64_t tokens = 0;
  for (const auto length : lengths) tokens += length;
  expect_alike([&](const Inputs& in) { return ops::attention(in[0], in[1], in[2], lengths, shape); },
               {normal({tokens, 4, 16}, 1), normal({tokens, 2, 16}, 2), normal({tokens, 2, 16}, 3)}, 0);
}

TEST(OnDevice, AttentionWithACacheIsThatOfTheProcessor) {
  for (const int64_t window : {0, 4})
    for (const int64_t queries : {1, 3, 11}) {
      const ops::AttentionShape shape{.causal = true, .window = window, .scale = 0.3};
      const auto q = normal({queries, 4, 16}, 1), k = normal({11, 2, 16}, 2), v = normal({11, 2, 16}, 3);
      const auto at_device = [](const at::Tensor& t) { return t.to(pretend_device()); };
      const auto got = ops::attention_with_cache(at_device(q), at_device(k), at_device(v), shape);
      EXPECT_LE(relative_error(got.to(at::kCPU), ops::attention_with_cache(q, k, v, shape)), kTolerance) << queries << " of 11, window " << window;
    }
}

/// A vocabulary of more than two chunks.
TEST(OnDevice, HeadLossIsThatOfTheProcessor) {
  constexpr int64_t kWords = 20001, kWidth = 24, kRows = 7;
  const auto head = dense_linear(normal({kWords, kWidth}, 1));
  const auto targets = at::tensor({int64_t{0}, int64_t{8191}, int64_t{8192}, int64_t{16383}, int64_t{20000}, int64_t{5}, int64_t{5}}, at::kLong);
  const auto hidden = normal({kRows, kWidth}, 2);
  const auto rows_on = [&](at::Device device) {
    return [&head, device](int64_t begin, int64_t count) { return head->rows(begin, count, at::kFloat, device); };
  };
  // Beginning, chunks of three (each absorbed and added), end.
  expect_alike([&](const Inputs& in) { return ops::head_loss(in[0], targets.to(in[0].device()), kWords, rows_on(in[0].device())); }, {hidden}, 8);

  at::Tensor best, best_there;
  const auto nll = ops::head_nll(hidden, targets, kWords, rows_on(at::kCPU), &best);
  const auto there = ops::head_nll(hidden.to(pretend_device()), targets.to(pretend_device()), kWords, rows_on(pretend_device()), &best_there);
  EXPECT_LE(relative_error(there.to(at::kCPU), nll), kTolerance);
  EXPECT_TRUE(at::equal(best_there.to(at::kCPU), best));
}

std::shared_ptr<FrozenLinear> stored_as(const std::string& form) {
  const auto weight = normal({48, 64}, 1);
  if (form == "bf16") return dense_linear(weight.to(at::kBFloat16));
  if (form == "nf4") return nf4_linear(weight);
  if (form == "nf4 across rows") return nf4_linear(normal({48, 40}, 1));
  if (form == "Q8_0") return testing::q8_0_linear(weight);
  return dense_linear(weight);
}

class WeightOnDevice : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Forms, WeightOnDevice, ::testing::Values("fp32", "bf16", "nf4", "nf4 across rows", "Q8_0"));

TEST_P(WeightOnDevice, RowsHaveTheBitsOfTheProcessors) {
  const auto linear = stored_as(GetParam());
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t begin : {0, 3}) {
      const auto there = linear->rows(begin, 5, dtype, pretend_device());
      EXPECT_EQ(there.device(), pretend_device());
      EXPECT_TRUE(at::equal(there.to(at::kCPU), linear->rows(begin, 5, dtype)));
    }
}

TEST_P(WeightOnDevice, ProductsAreThoseOfTheProcessor) {
  const auto linear = stored_as(GetParam());
  for (const int64_t rows : {1, 33})
    expect_alike([&](const Inputs& in) { return frozen_linear(in[0], linear, in[1]); }, {normal({rows, linear->in_features()}, 2), normal({48}, 3)}, 0);
  const auto x = normal({6, linear->in_features()}, 2), down = normal({6, 3}, 3), up = normal({48, 3}, 4);
  const auto at_device = [](const at::Tensor& t) { return t.to(pretend_device()); };
  const auto got = linear->project(at_device(x), {.bias = {}, .down = at_device(down), .up = at_device(up), .scale = 0.5});
  EXPECT_LE(relative_error(got.to(at::kCPU), linear->project(x, {.bias = {}, .down = down, .up = up, .scale = 0.5})), kTolerance);
}

}  // namespace
}  // namespace graft::peft
