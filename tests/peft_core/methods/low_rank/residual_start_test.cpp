#include "peft_core/methods/low_rank/residual_start.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/leading_svd.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::relative_error;
using testing::slot_of;
using ::testing::HasSubstr;

const std::string kQuery = "model.layers.0.self_attn.q_proj";

/// A0 and B0 in float64, from the saved plain LoRA.
StartPair start_of(const testing::Adapted& adapted, const std::string& name) {
  const auto state = adapted.attachment->state();
  const auto a = state.at(name + ".lora_A.weight").detach().to(at::kDouble), b = state.at(name + ".lora_B.weight").detach().to(at::kDouble);
  const int64_t r = a.size(0) / 2;
  return {a.narrow(0, r, r), -b.narrow(1, r, r)};
}

// ---- what all residual starts share -------------------------------------------------------------------------------------------------

TEST(ResidualStart, OutputAndGradientsAreThoseOfTheBaseWithoutTheStart) {
  const auto adapted = adapt("pissa", "rank: 4\nalpha: 8\ntargets: [q_proj]");
  const auto start = start_of(adapted, kQuery);
  adapted.disturb(3);
  const auto& slot = slot_of(adapted, kQuery);
  const auto leaves = slot.adapter()->parameters();
  const auto a = leaves[0].second.detach().to(at::kDouble).requires_grad_(), b = leaves[1].second.detach().t().to(at::kDouble).requires_grad_();
  at::manual_seed(1);
  const auto x = at::randn({9, 64}).requires_grad_(), g = at::randn({9, 64});
  const auto exact_x = x.detach().to(at::kDouble).requires_grad_();
  const auto residual = slot.base()->weight().to(at::kDouble) - at::mm(start.b, start.a) * 2;
  const auto expected = at::mm(exact_x, (residual + at::mm(b, a) * 2).t()) + slot.bias().to(at::kDouble);
  torch::autograd::backward({expected}, {g.to(at::kDouble)});
  const auto y = slot.forward(x, {});
  torch::autograd::backward({y}, {g});
  // Sums of up to 64 terms in fp32, and the start's own rounding to fp32, of the size of W's.
  constexpr double kTolerance = 64 * 0x1p-24;
  EXPECT_LT(relative_error(y, expected), kTolerance);
  EXPECT_LT(relative_error(x.grad(), exact_x.grad()), kTolerance);
  EXPECT_LT(relative_error(leaves[0].second.grad(), a.grad()), kTolerance);
  EXPECT_LT(relative_error(leaves[1].second.grad().t(), b.grad()), kTolerance);
}

TEST(ResidualStart, SmallUpdatesAreNotLostInBf16) {
  // The difference of two products of some 1 each, rounded to bf16, would be off by 2^-9; the update here is 2^-12.
  const auto adapted = adapt("pissa", "rank: 4\nalpha: 4\ntargets: [q_proj]", "llama", testing::kDenseBf16);
  const auto& slot = slot_of(adapted, kQuery);
  const auto start = start_of(adapted, kQuery);
  const auto b = slot.adapter()->parameters()[1].second;
  b.detach().add_(0x1p-12);
  at::manual_seed(1);
  const auto x = at::randn({40, 64}).to(at::kBFloat16);
  const at::NoGradGuard no_gradient;
  const auto zero = dense_linear(at::zeros({64, 64}, at::kBFloat16));  // so that the update stands alone
  const auto update = slot.adapter()->forward(x, {zero, {}, {}, 0});
  const auto expected = at::mm(at::mm(x.to(at::kDouble), start.a.t()), at::full({4, 64}, 0x1p-12, at::kDouble));
  EXPECT_LT(relative_error(update, expected), 0.01);  // the thin product and the sum, rounded once each
}

TEST(ResidualStart, IsSavedAsAPlainLoraOfTwiceTheRankThatGivesTheSameOutputs) {
  const auto adapted = adapt("pissa", "rank: 4\nalpha: 6\nuse_rslora: true\nrank_pattern: {q_proj: 2}\nalpha_pattern: {up_proj: 3}");
  adapted.disturb(3);
  auto published = nlohmann::json::parse(adapted.attachment->published_config().dump());
  EXPECT_EQ(published.at("r"), 8);
  EXPECT_EQ(published.at("init_lora_weights"), true);
  EXPECT_EQ(published.at("rank_pattern").at("q_proj"), 4);
  published.erase(kOwnSection);  // what PEFT sees
  testing::Adapted plain{testing::tiny_model("qwen2"), nullptr};
  const auto section = find_method("lora").from_published(published);
  ASSERT_TRUE(section.has_value());
  plain.attachment = find_method("lora").attach(plain.model->places(), *section, AttachContext(1, nullptr, true));
  AdapterState values;
  for (const auto& [name, tensor] : adapted.attachment->state()) values[name] = tensor.detach();
  load_state(*plain.attachment, values, "adapter");
  const auto batch = testing::tiny_batch();
  // The plain one takes the difference of two products as large as the base's own: fp32 rounding of 14 layers.
  EXPECT_LT(relative_error(plain.logits(batch), adapted.logits(batch).to(at::kDouble)), 14 * 64 * 0x1p-24);
}

TEST(ResidualStart, AFileOfAAndBAloneFindsTheStartAgain) {
  for (const auto* method : {"pissa", "olora"}) {
    const auto adapted = adapt(method, "rank: 4\nsaved_as: start");
    adapted.disturb(3);
    AdapterState values;
    for (const auto& [name, tensor] : adapted.attachment->state()) values[name] = tensor.detach();
    EXPECT_EQ(values.at(kQuery + ".lora_A.weight").size(0), 4);
    EXPECT_EQ(values.at(kQuery + ".lora_B.weight").size(1), 4);
    const auto published = nlohmann::json::parse(adapted.attachment->published_config().dump());
    EXPECT_EQ(published.at("init_lora_weights"), method);
    testing::Adapted second{testing::tiny_model("qwen2"), nullptr};
    second.attachment = find_method(method).attach(second.model->places(), *find_method(method).from_published(published),
                                                   AttachContext(99, nullptr, /*from_file=*/true));
    load_state(*second.attachment, values, "adapter");
    EXPECT_TRUE(at::equal(second.logits(testing::tiny_batch()), adapted.logits(testing::tiny_batch()))) << method;
  }
}

// ---- PiSSA ----------------------------------------------------------------------------------------------------------------------------

TEST(Pissa, StartIsTheBestApproximationOfItsRank) {
  for (const auto* options : {"rank: 4\nalpha: 2", "rank: 4\nalpha: 2\niterations: 400"}) {
    const auto adapted = adapt("pissa", options);
    const auto start = start_of(adapted, kQuery);
    const auto weight = slot_of(adapted, kQuery).base()->weight().to(at::kDouble);
    const auto svd = leading_svd(weight, 4);
    const auto expected = at::mm(svd.u * svd.s, svd.v.t());
    EXPECT_LT(relative_error(at::mm(start.b, start.a) * 0.5, expected), 1e-5) << options;  // fp32's rounding of 64 terms; iterated: forgotten start
    EXPECT_LT(relative_error(start.a.square().sum({1}), svd.s / 0.5), 1e-5) << options;     // half of the root in each factor
  }
}

TEST(Pissa, RefusesAScaleThatHasNoRoot) {
  EXPECT_THAT(testing::refusal("pissa", "alpha: 0"), HasSubstr("method.alpha"));
  EXPECT_THAT(testing::refusal("pissa", "iterations: -2"), HasSubstr("method.iterations"));
}

// ---- OLoRA ----------------------------------------------------------------------------------------------------------------------------

TEST(Olora, StartIsTheBeginningOfTheWholeQrFactorisation) {
  for (const auto* name : {"model.layers.0.mlp.up_proj", "model.layers.1.mlp.down_proj"}) {  // (96, 64) and (64, 96)
    const auto adapted = adapt("olora", "rank: 5");
    const auto start = start_of(adapted, name);
    const auto [q, r] = at::linalg_qr(slot_of(adapted, name).base()->weight().to(at::kDouble));
    EXPECT_LT(relative_error(start.b, q.narrow(1, 0, 5)), 64 * 0x1p-24) << name;
    EXPECT_LT(relative_error(start.a, r.narrow(0, 0, 5)), 64 * 0x1p-24) << name;
  }
}

// ---- files that PEFT's keys tell apart --------------------------------------------------------------------------------------------------

nlohmann::json file_with(const nlohmann::json& keys) {
  nlohmann::json published = {{"peft_type", "LORA"}, {"r", 4}, {"target_modules", {"q_proj"}}};
  published.update(keys);
  return published;
}

std::string claimed_by(const nlohmann::json& published) {
  std::string names;
  for (const auto& method : builtin_methods())
    if (method.from_published(published)) names += (names.empty() ? "" : " ") + method.name;
  return names;
}

TEST(LoraFiles, InitLoraWeightsSayWhichMethodReadsAFile) {
  for (const auto& [start, method] : std::map<std::string, std::string>{{"gaussian", "lora"}, {"mica", "lora"}, {"lora_ga", "lora"}, {"pissa", "pissa"},
                                                                       {"pissa_niter_4", "pissa"}, {"olora", "olora"}, {"OLoRA", "olora"},
                                                                       {"eva", "eva"}, {"loftq", "loftq"}, {"orthogonal", "orthogonal"}})
    EXPECT_EQ(claimed_by(file_with({{"init_lora_weights", start}})), method) << start;
  for (const auto& start : {nlohmann::json(true), nlohmann::json(false), nlohmann::json(nullptr)})
    EXPECT_EQ(claimed_by(file_with({{"init_lora_weights", start}})), "lora");
  EXPECT_EQ(claimed_by(file_with({{"init_lora_weights", "orthogonal"}, {"use_dora", true}})), "dora");
}

TEST(LoraFiles, StartsThatNobodyCouldFindAgainAreRefused) {
  for (const auto& keys : {nlohmann::json{{"init_lora_weights", "corda"}}, nlohmann::json{{"init_lora_weights", "of_next_year"}},
                           nlohmann::json{{"init_lora_weights", "pissa"}, {"use_dora", true}}}) {
    try {
      find_method("lora").from_published(file_with(keys));
      FAIL() << keys;
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), HasSubstr(keys.at("init_lora_weights").get<std::string>()));
    }
  }
}

}  // namespace
}  // namespace graft::peft
