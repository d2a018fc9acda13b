#include "peft_core/methods/low_rank/vera.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::relative_error;
using testing::slot_of;
using ::testing::HasSubstr;

const std::string kDown = "model.layers.0.mlp.down_proj";

TEST(Vera, OutputAndGradientsAreThoseOfThePapersFormula) {
  const auto adapted = adapt("vera", "rank: 8\ntargets: [q_proj, down_proj]");
  adapted.disturb(3);
  const auto state = adapted.attachment->state();
  const auto& slot = slot_of(adapted, kDown);  // 96 -> 64: the projections are cut on one side, for q_proj on the other
  const auto leaf = [&](const std::string& name) { return state.at(kDown + ".vera_lambda_" + name).detach().to(at::kDouble).requires_grad_(); };
  const auto d = leaf("d"), b = leaf("b");
  const auto shared_a = state.at("base_model.vera_A").to(at::kDouble), shared_b = state.at("base_model.vera_B").to(at::kDouble);
  at::manual_seed(1);
  const auto x = at::randn({9, 96}).requires_grad_(), g = at::randn({9, 64});
  const auto exact_x = x.detach().to(at::kDouble).requires_grad_();
  const auto down = at::mm(exact_x, shared_a.narrow(1, 0, 96).t()) * d;
  const auto expected = at::mm(exact_x, slot.base()->weight().to(at::kDouble).t()) + at::mm(down, shared_b.narrow(0, 0, 64).t()) * b;
  torch::autograd::backward({expected}, {g.to(at::kDouble)});
  const auto y = slot.forward(x, {});
  torch::autograd::backward({y}, {g});
  constexpr double kTolerance = 96 * 0x1p-24;  // sums of 96 terms in fp32
  EXPECT_LT(relative_error(y, expected), kTolerance);
  EXPECT_LT(relative_error(x.grad(), exact_x.grad()), kTolerance);
  EXPECT_LT(relative_error(state.at(kDown + ".vera_lambda_d").grad(), d.grad()), kTolerance);
  EXPECT_LT(relative_error(state.at(kDown + ".vera_lambda_b").grad(), b.grad()), kTolerance);
}

// Values of torch.Generator().manual_seed(7) through PEFT 0.21.2's initialisation, for the widest sides 96 and 96 and r = 4.
TEST(Vera, ProjectionsAreThoseThatPeftDrawsFromTheKey) {
  const auto state = adapt("vera", "rank: 4\nprojection_prng_key: 7").attachment->state();
  const auto &a = state.at("base_model.vera_A"), &b = state.at("base_model.vera_B");
  ASSERT_EQ(a.sizes(), at::IntArrayRef({4, 96}));
  ASSERT_EQ(b.sizes(), at::IntArrayRef({96, 4}));
  const auto expect_values = [](const at::Tensor& actual, const std::vector<float>& expected) {
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(actual.const_data_ptr<float>()[i], expected[i]) << i;
  };
  expect_values(a, {0.0174612701f, -0.150598407f, 0.0796058476f, 0.0784451365f});
  expect_values(b, {0.156278118f, 0.515682995f, -0.0584875494f, 0.694663405f});
}

TEST(Vera, ProjectionsStandInTheFileOrComeFromTheKey) {
  const auto with = adapt("vera", "rank: 4"), without = adapt("vera", "rank: 4\nsave_projection: false");
  EXPECT_TRUE(with.attachment->state().contains("base_model.vera_A"));
  for (const auto& [name, tensor] : without.attachment->state()) EXPECT_THAT(name, HasSubstr("vera_lambda_"));
  EXPECT_EQ(without.attachment->published_config().at("save_projection"), false);
}

TEST(Vera, OtherKeysGiveOtherProjections) {
  const auto a = [](const char* options) { return adapt("vera", options).attachment->state().at("base_model.vera_A"); };
  EXPECT_FALSE(at::equal(a("rank: 4"), a("rank: 4\nprojection_prng_key: 1")));
}

TEST(Vera, LimitsAreChecked) {
  EXPECT_THAT(testing::refusal("vera", "rank: 0"), HasSubstr("method.rank"));
  EXPECT_THAT(testing::refusal("vera", "dropout: 1"), HasSubstr("method.dropout"));
  EXPECT_THAT(testing::refusal("vera", "projection_prng_key: -1"), HasSubstr("projection_prng_key"));
}

}  // namespace
}  // namespace graft::peft
