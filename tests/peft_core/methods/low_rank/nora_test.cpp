#include "peft_core/methods/low_rank/nora.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::Adapted;
using testing::adapt;
using testing::refusal;
using testing::relative_error;
using testing::slot_of;
using ::testing::HasSubstr;

constexpr double kUnit32 = 0x1p-24;
const std::string kQuery = "model.layers.0.self_attn.q_proj", kDown = "model.layers.1.mlp.down_proj";

at::Tensor leaf(const Adapted& adapted, const std::string& name) { return adapted.attachment->state().at(name); }

TEST(Nora, AtTheStartTheOutputsAreTheBasesWhileTrainingToo) {
  const auto adapted = adapt("nora");
  const auto batch = testing::tiny_batch();
  at::NoGradGuard no_gradient;
  const auto training = adapted.model->logits(adapted.model->hidden_states(batch.stream(), {.training = true, .dropout_seed = 5}));
  EXPECT_TRUE(at::equal(training, Adapted{testing::tiny_model("qwen2"), nullptr}.logits(batch)));
}

TEST(Nora, AGetsItsFirstGradientOnceBHasMoved) {
  const auto adapted = adapt("nora");
  const auto batch = testing::tiny_batch();
  adapted.train(batch, 1);
  for (const auto& [name, tensor] : adapted.trainable())
    EXPECT_EQ(tensor.grad().abs().max().item<double>() > 0, name.ends_with("nora_B.weight")) << name;
  adapted.train(batch, 1);
  for (const auto& [name, tensor] : adapted.trainable()) EXPECT_GT(tensor.grad().abs().max().item<double>(), 0) << name;
}

TEST(Nora, StartIsNormalWithVarianceTwoOverIn) {
  for (const auto& name : {kQuery, kDown}) {
    const auto a = leaf(adapt("nora", "rank: 64\ntargets: [q_proj, down_proj]"), name + ".nora_A.weight").detach().to(at::kDouble);
    const auto n = static_cast<double>(a.numel()), in = static_cast<double>(a.size(1));
    // Mean and mean square of N(0, 2 / in) have deviations √(2 / in n) and (2 / in) √(2 / n): five of each.
    EXPECT_NEAR(a.mean().item<double>(), 0, 5 * std::sqrt(2 / (in * n))) << name;
    EXPECT_NEAR(a.square().mean().item<double>() * in / 2, 1, 5 * std::sqrt(2 / n)) << name;
  }
}

/// Sets the branch's tensors of one layer to noise and returns them in float64.
std::pair<at::Tensor, at::Tensor> disturbed(const Adapted& adapted, const std::string& name) {
  adapted.disturb(3);
  return {leaf(adapted, name + ".nora_A.weight").detach().to(at::kDouble), leaf(adapted, name + ".nora_B.weight").detach().to(at::kDouble)};
}

TEST(Nora, WithTheIdentityItIsLoraWithAlphaEqualToTheRank) {
  auto nora = adapt("nora", "rank: 4\nactivation: identity\ndropout: 0"), lora = adapt("lora", "rank: 4\nalpha: 4");
  nora.disturb(3);
  AdapterState same;
  for (const auto& [name, tensor] : nora.attachment->state()) {
    auto renamed = name;
    same[renamed.replace(name.find("nora_"), 4, "lora")] = tensor.detach();
  }
  load_state(*lora.attachment, same, "nora");
  const auto batch = testing::tiny_batch();
  EXPECT_EQ(nora.trainable().size(), lora.trainable().size());
  for (const auto* one : {&nora, &lora}) torch::autograd::backward({one->loss(batch, true)});
  // The same products; the input's gradient is added up in another order: sums of up to 96 terms in 15 layers.
  constexpr double kTolerance = 15 * 16 * kUnit32;
  EXPECT_LT(relative_error(nora.logits(batch), lora.logits(batch).to(at::kDouble)), kTolerance);
  for (size_t i = 0; i < nora.trainable().size(); ++i)
    EXPECT_LT(relative_error(nora.trainable()[i].second.grad(), lora.trainable()[i].second.grad()), 10 * kTolerance) << nora.trainable()[i].first;
  const auto& slot = slot_of(nora, kDown);
  const auto [a, b] = std::pair{leaf(nora, kDown + ".nora_A.weight").to(at::kDouble), leaf(nora, kDown + ".nora_B.weight").to(at::kDouble)};
  EXPECT_LT(relative_error(slot.adapter()->merged_weight(*slot.base()), slot.base()->weight().to(at::kDouble) + at::mm(b, a)), 8 * kUnit32);
  nora.attachment->merge(at::kFloat);
  EXPECT_LT(relative_error(nora.logits(batch), lora.logits(batch).to(at::kDouble)), kTolerance);
}

TEST(Nora, BranchAndJacobianAreThoseOfTheFormula) {
  for (const auto& name : {kQuery, kDown}) {  // with a bias, and with in other than the hidden size
    const auto adapted = adapt("nora", "rank: 5\nscale: 1.5\ntargets: [q_proj, down_proj]");
    const auto [a, b] = disturbed(adapted, name);
    const auto& slot = slot_of(adapted, name);
    const int64_t in = slot.base()->in_features();
    at::manual_seed(1);
    const auto x = at::randn({9, in}).requires_grad_(), g = at::randn({9, slot.base()->out_features()});
    const auto weight = slot.base()->weight().to(at::kDouble), x64 = x.detach().to(at::kDouble), g64 = g.to(at::kDouble);
    const auto z = at::mm(x64, a.t()), sigmoid = at::sigmoid(z);
    auto expected = at::mm(x64, weight.t()) + at::mm(z * sigmoid, b.t()) * 1.5;
    if (slot.bias().defined()) expected = expected + slot.bias();
    const auto y = slot.forward(x, {});
    torch::autograd::backward({y}, {g});
    EXPECT_LT(relative_error(y, expected), 96 * kUnit32);
    // dx = Wᵀ g + s Aᵀ diag(silu'(z)) Bᵀ g.
    const auto slope = sigmoid * (1 + z * (1 - sigmoid));
    const auto dx = at::mm(g64, weight) + at::mm(at::mm(g64, b) * slope, a) * 1.5;
    EXPECT_LT(relative_error(x.grad(), dx), 96 * kUnit32);
    // Not linear: f(2 x) is far from 2 f(x).
    const auto branch = [&](const at::Tensor& input) { return (slot.forward(input, {}) - frozen_linear(input, slot.base(), slot.bias())).detach(); };
    EXPECT_GT(relative_error(branch(x * 2), branch(x) * 2), 0.05);
  }
}

TEST(Nora, ALearntMixLeadsFromTheLinearToTheBentBottleneck) {
  const auto mixed = adapt("nora", "rank: 4\nlearn_mix: true\ntargets: [down_proj]");
  const auto linear = adapt("nora", "rank: 4\nactivation: identity\ntargets: [down_proj]"), bent = adapt("nora", "rank: 4\ntargets: [down_proj]");
  at::NoGradGuard no_gradient;
  const auto x = at::randn({5, 96});
  for (const auto* one : {&mixed, &linear, &bent}) leaf(*one, kDown + ".nora_B.weight").copy_(testing::direction_like(leaf(*one, kDown + ".nora_B.weight")));
  const auto mix = leaf(mixed, kDown + ".nora_mix");
  EXPECT_EQ(mix.item<float>(), 0);
  EXPECT_LT(relative_error(slot_of(mixed, kDown).forward(x, {}), slot_of(linear, kDown).forward(x, {})), 8 * kUnit32);
  mix.fill_(1);
  EXPECT_LT(relative_error(slot_of(mixed, kDown).forward(x, {}), slot_of(bent, kDown).forward(x, {})), 8 * kUnit32);
  EXPECT_THAT(refusal("nora", "learn_mix: true\nactivation: identity"), HasSubstr("learn_mix"));
}

TEST(Nora, DropoutTakesUnitsOfTheBottleneckAndNothingOfTheInput) {
  const auto adapted = adapt("nora", "rank: 8\ndropout: 0.25\ntargets: [q_proj]", "llama");
  const auto& slot = slot_of(adapted, kQuery);
  at::NoGradGuard no_gradient;
  leaf(adapted, kQuery + ".nora_B.weight").copy_(at::eye(64).narrow(1, 0, 8));  // each unit shows in an output of its own
  at::manual_seed(1);
  const auto x = at::randn({40, 64}), base = frozen_linear(x, slot.base(), slot.bias());
  const auto kept = (slot.forward(x, {}) - base).narrow(1, 0, 8);
  auto mean = at::zeros({40, 8}, at::kDouble);
  int64_t dropped = 0;
  constexpr int64_t kDraws = 400;
  for (int64_t draw = 0; draw < kDraws; ++draw) {
    const auto branch = slot.forward(x, {.training = true, .dropout_seed = static_cast<uint64_t>(draw)}) - base;
    EXPECT_EQ(branch.narrow(1, 8, 56).abs().max().item<float>(), 0.0f);
    const auto unit = branch.narrow(1, 0, 8), zero = unit == 0;
    dropped += zero.sum().item<int64_t>();
    // What is left is the unit over 1 - p; y is rounded with the base's part in it, of size up to about 4.
    EXPECT_LT(((unit - kept / 0.75).masked_fill(zero, 0)).abs().max().item<double>(), 16 * kUnit32 * 4);
    mean += unit;
  }
  const double share = static_cast<double>(dropped) / (kDraws * 320);
  EXPECT_NEAR(share, 0.25, 5 * std::sqrt(0.25 * 0.75 / (kDraws * 320)));
  // The mean of n draws of u · bernoulli / (1 − p) errs by u √(p / (1 − p) n): six of these.
  const auto error = ((mean / kDraws - kept).abs() / kept.abs().clamp_min(0.05)).max().item<double>();
  EXPECT_LT(error, 6 * std::sqrt(0.25 / 0.75 / kDraws));
}

TEST(Nora, TheRankIsTheSameForLayersOfAllSizes) {
  const auto adapted = adapt("nora", "rank: 6");
  int64_t trainable = 0, expected = 0;
  for (const auto& [name, tensor] : adapted.trainable()) trainable += tensor.numel();
  for (const auto* slot : adapted.model->places().linears) {
    EXPECT_EQ(leaf(adapted, slot->name() + ".nora_A.weight").size(0), 6);
    expected += 6 * (slot->base()->in_features() + slot->base()->out_features());
  }
  EXPECT_EQ(trainable, expected);
  EXPECT_THAT(refusal("nora", "rank: 33"), HasSubstr("k_proj"));
  EXPECT_THAT(refusal("nora", "rank: 0"), HasSubstr("method.rank"));
  for (const auto* value : {"-0.1", "1", ".nan"}) EXPECT_THAT(refusal("nora", std::string("dropout: ") + value), HasSubstr("dropout"));
}

TEST(Nora, MergingIsRefusedAndLeavesEverythingAsItWas) {
  const auto adapted = adapt("nora");
  adapted.disturb(3);
  const auto before = adapted.logits(testing::tiny_batch());
  try {
    adapted.attachment->merge(at::kFloat);
    FAIL() << "merged";
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), HasSubstr("not linear"));
  }
  EXPECT_TRUE(at::equal(adapted.logits(testing::tiny_batch()), before));
}

}  // namespace
}  // namespace graft::peft
