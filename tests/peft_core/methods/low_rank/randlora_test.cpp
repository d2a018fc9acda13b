#include "peft_core/methods/low_rank/randlora.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "peft_core/methods/low_rank/randlora_bases.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::relative_error;
using ::testing::HasSubstr;

/// The update's matrix (larger, smaller), term by term: row i n + j of the scaled A meets column i n + j of B laid out basis by basis.
at::Tensor update_of(const at::Tensor& a, const at::Tensor& b, const at::Tensor& lambda, const at::Tensor& gamma, int64_t larger) {
  const auto rank = lambda.size(0), bases = lambda.size(1), smaller = gamma.size(1);
  auto update = at::zeros({larger, smaller}, at::kDouble);
  for (int64_t i = 0; i < rank; ++i)
    for (int64_t j = 0; j < bases; ++j) {
      const auto row = a.select(0, i).select(0, 0).narrow(0, 0, smaller) * gamma.select(0, j) * lambda.select(0, i).select(0, j);
      const auto index = i * bases + j;
      const auto column = b.select(2, index % rank).select(1, index / rank).narrow(0, 0, larger);
      update = update + at::outer(column, row);
    }
  return update;
}

void expect_formula(const std::string& layer, int64_t in, int64_t out) {
  const auto adapted = adapt("randlora", "rank: 7\nalpha: 14");  // 7 divides neither side
  adapted.disturb(3);
  const auto state = adapted.attachment->state();
  const auto& slot = testing::slot_of(adapted, layer);
  const auto leaf = [&](const std::string& name) { return state.at(layer + ".randlora_" + name).detach().to(at::kDouble).requires_grad_(); };
  const auto lambda = leaf("lambda"), gamma = leaf("gamma");
  const auto a = state.at("base_model.randlora_A").to(at::kDouble), b = state.at("base_model.randlora_B").to(at::kDouble);
  const auto update = update_of(a, b, lambda, gamma, std::max(in, out)) * 2;
  at::manual_seed(1);
  const auto x = at::randn({9, in}).requires_grad_(), g = at::randn({9, out});
  const auto exact_x = x.detach().to(at::kDouble).requires_grad_();
  const auto weight = slot.base()->weight().to(at::kDouble) + (in <= out ? update : update.t());
  auto expected = at::mm(exact_x, weight.t());
  if (slot.bias().defined()) expected = expected + slot.bias().to(at::kDouble);
  torch::autograd::backward({expected}, {g.to(at::kDouble)});
  const auto y = slot.forward(x, {});
  torch::autograd::backward({y}, {g});
  // Sums of up to 96 and then 70 terms in fp32.
  constexpr double kTolerance = 2 * 96 * 0x1p-24;
  EXPECT_LT(relative_error(y, expected), kTolerance) << layer;
  EXPECT_LT(relative_error(x.grad(), exact_x.grad()), kTolerance) << layer;
  EXPECT_LT(relative_error(state.at(layer + ".randlora_lambda").grad(), lambda.grad()), kTolerance) << layer;
  EXPECT_LT(relative_error(state.at(layer + ".randlora_gamma").grad(), gamma.grad()), kTolerance) << layer;
}

TEST(Randlora, OutputAndGradientsAreThoseOfTheSumOverBases) {
  expect_formula("model.layers.0.self_attn.q_proj", 64, 64);
  expect_formula("model.layers.0.self_attn.k_proj", 64, 32);
  expect_formula("model.layers.0.mlp.up_proj", 64, 96);
  expect_formula("model.layers.1.mlp.down_proj", 96, 64);
}

TEST(Randlora, ReachesFullRank) {
  const auto adapted = adapt("randlora", "rank: 7\ntargets: [q_proj]");
  adapted.disturb(3);
  const auto& slot = testing::slot_of(adapted, "model.layers.0.self_attn.q_proj");
  const auto update = slot.adapter()->merged_weight(*slot.base()) - slot.base()->weight();
  EXPECT_EQ(at::linalg_matrix_rank(update.to(at::kDouble), 1e-6).item<int64_t>(), 64);
}

void expect_values(const at::Tensor& actual, const std::vector<float>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(actual.contiguous().const_data_ptr<float>()[i], expected[i]) << i;
}

// From PEFT 0.21.2's own initialisation with key 7, rank 5, sides 64 and 96.
TEST(Randlora, BasesAreThoseThatPeftDrawsFromTheKey) {
  const RandloraBases dense(5, 64, 96, RandloraBases::Kind::kDense, 7), sparse(5, 64, 96, RandloraBases::Kind::kSparse, 7),
      very(5, 64, 96, RandloraBases::Kind::kVerySparse, 7);
  ASSERT_EQ(dense.a().sizes(), at::IntArrayRef({5, 1, 64}));
  ASSERT_EQ(dense.b().sizes(), at::IntArrayRef({96, 13, 5}));
  expect_values(dense.a(), {0.123046875f, -1.0625f, 0.5625f, 0.5546875f, -0.9453125f, -0.263671875f});
  expect_values(dense.b(), {0.7109375f, -0.48046875f, 0.4921875f, -1.515625f, -0.9765625f, 0.361328125f});
  expect_values(sparse.a(), {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f});
  expect_values(sparse.b(), {0.0f, 0.0f, 0.0f, -1.70990932f, 0.0f, 0.0f});
  expect_values(very.a(), {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f});
  expect_values(very.b(), {0.0f, 0.0f, 0.0f, -2.76191044f, 0.0f, 0.0f});
}

TEST(Randlora, TheLaidOutBasesFollowTheValues) {
  const RandloraBases bases(4, 8, 12, RandloraBases::Kind::kDense, 0);
  const auto before = bases.wide(10, 2).clone();
  EXPECT_TRUE(at::equal(before, bases.b().narrow(0, 0, 10).narrow(1, 0, 2).reshape({10, 8})));
  bases.b().add_(1.0);  // as a loaded file does
  EXPECT_TRUE(at::equal(bases.wide(10, 2), bases.b().narrow(0, 0, 10).narrow(1, 0, 2).reshape({10, 8})));
}

TEST(Randlora, BasesStandInTheFileOrComeFromTheKey) {
  EXPECT_TRUE(adapt("randlora", "rank: 4").attachment->state().contains("base_model.randlora_B"));
  const auto without = adapt("randlora", "rank: 4\nsave_projection: false");
  for (const auto& [name, tensor] : without.attachment->state()) EXPECT_THAT(name, ::testing::StartsWith("model.layers."));
}

TEST(Randlora, LimitsAreChecked) {
  EXPECT_THAT(testing::refusal("randlora", "rank: 0"), HasSubstr("method.rank"));
  EXPECT_THAT(testing::refusal("randlora", "dropout: -0.1"), HasSubstr("method.dropout"));
}

}  // namespace
}  // namespace graft::peft
