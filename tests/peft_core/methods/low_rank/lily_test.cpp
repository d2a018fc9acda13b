#include "peft_core/methods/low_rank/lily.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "tests/peft_core/methods/method_fixture.h"
#include "tests/peft_core/methods/structured/layer_against_weight.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::relative_error;
using testing::slot_of;
using ::testing::HasSubstr;

const std::string kQuery = "model.layers.0.self_attn.q_proj";

/// The header's formula with one expert at a time, in float64.
at::Tensor formula(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const testing::ExactLeaves& leaves, double scaling, bool batch) {
  const auto &b = leaves.at("lily_B.weight"), &router = leaves.at("lily_router.weight");
  const auto h = at::mm(x, leaves.at("lily_A.weight").t());
  auto p = at::softmax(at::mm(h, router.t()), 1);
  if (batch) p = p.mean({0}, /*keepdim=*/true);
  auto y = at::mm(x, weight.t()) + bias;
  for (int64_t e = 0; e < router.size(0); ++e)
    y = y + scaling * p.narrow(1, e, 1) * at::mm(h, b.narrow(0, e * h.size(1), h.size(1)));
  return y;
}

TEST(Lily, OutputAndGradientsAreThoseOfTheFormulaInBothModes) {
  for (const bool batch : {true, false}) {
    const auto adapted = adapt("lily", std::string("rank: 4\nnum_b: 3\nscaling: 2\ntargets: [q_proj]\nrouting: ") + (batch ? "batch" : "token"));
    adapted.disturb(3);
    const auto& slot = slot_of(adapted, kQuery);
    testing::ExactLeaves leaves;
    const auto state = adapted.attachment->state();
    for (const auto& [name, tensor] : state)
      if (name.starts_with(kQuery + ".")) leaves[name.substr(kQuery.size() + 1)] = tensor.detach().to(at::kDouble).requires_grad_();
    at::manual_seed(1);
    const auto x = at::randn({9, 64}).requires_grad_(), g = at::randn({9, 64});
    const auto exact_x = x.detach().to(at::kDouble).requires_grad_();
    const auto expected = formula(exact_x, slot.base()->weight().to(at::kDouble), slot.bias().to(at::kDouble), leaves, 2, batch);
    torch::autograd::backward({expected}, {g.to(at::kDouble)});

    const auto y = slot.forward(x, {});
    torch::autograd::backward({y}, {g});
    constexpr double kTolerance = 2 * 64 * 0x1p-24;  // sums of 64 terms in fp32, and the thin products'
    EXPECT_LT(relative_error(y, expected), kTolerance) << batch;
    EXPECT_LT(relative_error(x.grad(), exact_x.grad()), kTolerance) << batch;
    for (const auto& [name, leaf] : leaves) EXPECT_LT(relative_error(state.at(kQuery + "." + name).grad(), leaf.grad()), kTolerance) << name << batch;
  }
}

std::map<std::string, const void*> storages(const testing::Adapted& adapted) {
  std::map<std::string, const void*> all;
  for (const auto& [name, tensor] : adapted.attachment->state()) all[name] = tensor.data_ptr();
  return all;
}

TEST(Lily, LayersOfAKindShareEveryBAndNeighboursAnA) {
  const auto of = [](int layer, const std::string& rest) { return "model.layers." + std::to_string(layer) + "." + rest; };
  const auto own = storages(adapt("lily")), paired = storages(adapt("lily", "stride_a: 2"));
  for (const auto& at : {&own, &paired}) {
    EXPECT_EQ(at->at(of(0, "self_attn.q_proj.lily_B.weight")), at->at(of(1, "self_attn.q_proj.lily_B.weight")));
    EXPECT_NE(at->at(of(0, "self_attn.q_proj.lily_router.weight")), at->at(of(1, "self_attn.q_proj.lily_router.weight")));
    EXPECT_NE(at->at(of(0, "self_attn.q_proj.lily_B.weight")), at->at(of(0, "self_attn.o_proj.lily_B.weight")));  // one size, two kinds
  }
  EXPECT_NE(own.at(of(0, "self_attn.q_proj.lily_A.weight")), own.at(of(1, "self_attn.q_proj.lily_A.weight")));
  EXPECT_EQ(paired.at(of(0, "self_attn.q_proj.lily_A.weight")), paired.at(of(1, "self_attn.q_proj.lily_A.weight")));
}

TEST(Lily, OneExpressionMakesOneKindOfAllLayersOfASize) {
  const auto shared = storages(adapt("lily", "targets: ['.*(q|o|k)_proj']"));
  const auto b = [&](const std::string& layer) { return shared.at("model.layers.0.self_attn." + layer + ".lily_B.weight"); };
  EXPECT_EQ(b("q_proj"), b("o_proj"));
  EXPECT_NE(b("q_proj"), b("k_proj"));
}

TEST(Lily, SharedTensorsAreTrainedOnceAndSavedForEveryLayer) {
  const auto adapted = adapt("lily", "targets: [q_proj]\nstride_a: 2");
  EXPECT_EQ(adapted.trainable().size(), 1 + 1 + 2);  // A, B, two routers
  EXPECT_EQ(adapted.attachment->state().size(), 2 * 3);
}

TEST(Lily, WhatPeftCannotExpressIsWrittenBesideItsKeys) {
  const auto token = adapt("lily", "routing: token").attachment->published_config();
  EXPECT_EQ(token.at("routing"), "token");
  EXPECT_FALSE(adapt("lily").attachment->published_config().contains("routing"));
  EXPECT_EQ(find_method("lily").from_published(token)->find("routing")->scalar, "token");
}

TEST(Lily, SizesThatMakeNoSenseAreRefused) {
  EXPECT_THAT(testing::refusal("lily", "num_b: 1"), HasSubstr("method.num_b"));
  EXPECT_THAT(testing::refusal("lily", "stride_a: 0"), HasSubstr("method.stride_a"));
  EXPECT_THAT(testing::refusal("lily", "rank: 0"), HasSubstr("method.rank"));
}

}  // namespace
}  // namespace graft::peft
