#include "peft_core/methods/low_rank/na_lora.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/channel_gain.h"
#include "peft_core/methods/low_rank/factor_gradients.h"
#include "peft_core/methods/low_rank/low_rank_op.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::Adapted;
using testing::refusal;
using testing::relative_error;
using ::testing::HasSubstr;

constexpr double kUnit32 = 0x1p-24;
const std::string kGate = "model.layers.0.mlp.gate_proj", kUp = "model.layers.0.mlp.up_proj";

at::Tensor leaf(const Adapted& adapted, const std::string& name) { return adapted.attachment->state().at(name); }
at::Tensor kept(const Adapted& adapted, const std::string& name) {
  for (const auto& [own, tensor] : adapted.attachment->training_state())
    if (own == name) return tensor;
  throw std::runtime_error("no training state " + name);
}

at::Tensor activation(SelfGated kind, const at::Tensor& z) {
  return kind == SelfGated::kSilu ? at::silu(z) : kind == SelfGated::kGelu ? at::gelu(z) : at::relu(z);
}

TEST(SelfGated, SlopeAndHomogeneityAreThoseOfFiniteDifferences) {
  const auto z = at::linspace(-7.03, 7.01, 200, at::kDouble);  // 0 is not among them
  constexpr double h = 1e-5;
  for (const auto kind : {SelfGated::kSilu, SelfGated::kGelu, SelfGated::kRelu}) {
    const auto difference = (activation(kind, z + h) - activation(kind, z - h)) / (2 * h);
    EXPECT_LT((slope(kind, z) - difference).abs().max().item<double>(), 1e-9);
    const auto phi = activation(kind, z), quotient = z * difference / phi;
    // φ falls to 1e-11 at -7 for GELU, with which the quotient's error grows; so held only where φ stands above it.
    const auto clear = phi.abs() > 1e-3;
    EXPECT_LT(at::where(clear, homogeneity(kind, z) - quotient, at::zeros_like(z)).abs().max().item<double>(), 1e-5);
  }
  EXPECT_LT((homogeneity(SelfGated::kSilu, z) - (1 + z * (1 - at::sigmoid(z)))).abs().max().item<double>(), 1e-12);
  EXPECT_TRUE(at::isfinite(homogeneity(SelfGated::kGelu, at::tensor({-1e4f, -40.f, -13.f, 0.f, 50.f}))).all().item<bool>());
}

TEST(SelfGated, ZeroOfTheSlopeAndItsBoundsAreTheCards) {
  EXPECT_NEAR(zero_of_slope(SelfGated::kSilu), -1.2785, 5e-5);
  EXPECT_NEAR(zero_of_slope(SelfGated::kGelu), -0.7518, 5e-5);
  for (const auto kind : {SelfGated::kSilu, SelfGated::kGelu}) {
    const auto zero = at::full({1}, zero_of_slope(kind), at::kDouble);
    EXPECT_NEAR(slope(kind, zero).item<double>(), 0, 1e-9);
    EXPECT_NEAR(homogeneity(kind, zero).item<double>(), 0, 1e-8);
  }
  const auto z = at::linspace(-20, 20, 40001, at::kDouble);
  EXPECT_NEAR(slope(SelfGated::kSilu, z).max().item<double>(), 1.0998, 5e-5);
  EXPECT_NEAR(slope(SelfGated::kSilu, z).min().item<double>(), -0.0998, 5e-5);
  EXPECT_NEAR(homogeneity(SelfGated::kSilu, z).max().item<double>(), 1.2785, 5e-5);
}

TEST(ChannelGain, AveragesAreThoseOfTheClosedFormAndMasksFollowThem) {
  ChannelGain gain("gate", 3, {.decay = 0.9, .kept_share = 0.6, .floor = 0.25, .start = 3, .refresh = 2});
  const auto held = at::tensor({-8.f, 2.f, -0.5f}).expand({5, 3});
  const auto mean = slope(SelfGated::kSilu, held)[0].abs().to(at::kDouble);
  for (int64_t step = 0; step < 3; ++step) {
    EXPECT_FALSE(gain.at_work()) << step;
    gain.watch(held), gain.watch(held.narrow(0, 0, 2));  // two micro steps
    gain.end_step(step);
    EXPECT_LT(relative_error(gain.importance(), mean * (1 - std::pow(0.9, step + 1))), 1e-6);
  }
  // Two of three channels are kept (0.6 · 3, rounded up); |φ'| is 0.002, 1.09 and 0.26.
  EXPECT_TRUE(at::equal(gain.mask(), at::tensor({0.25f, 1.f, 1.f})));
  EXPECT_LT((gain.factor() - at::tensor({0.1f, 1.f, 0.5f})).abs().max().item<double>(), 1e-6);  // suppressed, positive, transitional
  for (int64_t step = 3; step < 60; ++step) gain.watch(-held), gain.end_step(step);               // now the first channel answers, the last least
  EXPECT_TRUE(at::equal(gain.mask(), at::tensor({1.f, 0.25f, 1.f})));
}

TEST(ChannelGain, MasksComeAtTheirTimesOnly) {
  ChannelGain gain("gate", 2, {.decay = 0, .start = 4, .refresh = 3});
  std::vector<int64_t> changed;
  auto before = gain.factor().clone();
  for (int64_t step = 0; step < 12; ++step) {
    gain.watch(at::full({4, 2}, step % 2 == 0 ? 3.0 : -0.1 * static_cast<double>(step)));
    gain.end_step(step);
    if (!at::equal(gain.factor(), before)) changed.push_back(step + 1);
    before = gain.factor().clone();
  }
  EXPECT_THAT(changed, ::testing::ElementsAre(4, 7, 10));  // even steps hold 0.5 or 0.1, odd ones 1, and the first is no 1
}

TEST(ChannelGain, AThresholdAndHomogeneityAreOtherWaysToChoose) {
  ChannelGain gain("gate", 3, {.threshold = 0.2, .scaling = StepScaling::kHomogeneity, .start = 1, .refresh = 1});
  const auto held = at::tensor({-8.f, 2.f, -0.5f}).expand({5, 3});
  gain.watch(held), gain.end_step(0);
  EXPECT_TRUE(at::equal(gain.mask(), at::tensor({0.f, 1.f, 1.f})));
  const auto expected = homogeneity(SelfGated::kSilu, held)[0].abs().clamp(0.1, 1.28);
  EXPECT_LT(relative_error(gain.factor(), expected), 1e-6);
}

TEST(ChannelGain, LooksAtAFewTokensSpreadOverTheBatch) {
  ChannelGain gain("gate", 1, {.decay = 0, .sampled_tokens = 4});
  auto z = at::full({12, 1}, -50.0);
  for (const int64_t seen : {0, 3, 6, 9}) z[seen][0] = 50;  // |φ'| 1, elsewhere 0
  gain.watch(z), gain.end_step(0);
  EXPECT_NEAR(gain.importance().item<double>(), 1, 1e-6);
}

TEST(NaLora, FactorGradientsAreThoseOfTheStoppedGradient) {
  for (const double dropout : {0.0, 0.4})
    for (const bool by_token : {false, true}) {
      at::manual_seed(3);
      const auto base = dense_linear(at::randn({12, 10}) * 0.2);
      const auto x = at::randn({7, 10}).requires_grad_(), a = at::randn({3, 10}).requires_grad_(), b = at::randn({12, 3}).requires_grad_();
      const auto g = at::randn({7, 12});
      auto m = at::rand({12});
      m[4] = 0;
      const auto n = at::rand({7, 12});
      const auto y = low_rank_linear(x, a.detach(), b.detach(), 1.5, base, {}, dropout, 9);
      const auto z = with_factor_gradients(y, x, a, b, {.scale = 1.5, .dropout = dropout, .seed = 9, .channel_gain = m,
                                                         .token_gain = by_token ? n : at::Tensor()});
      EXPECT_TRUE(at::equal(z, low_rank_linear(x, a, b, 1.5, base, {}, dropout, 9)));
      torch::autograd::backward({z}, {g});
      // By hand, through v' = m v + (1 − m) stop(v) for the factors; x's gradient is that of plain LoRA.
      const auto plain_x = x.detach().clone().requires_grad_(), plain_a = a.detach().clone().requires_grad_(), plain_b = b.detach().clone().requires_grad_();
      torch::autograd::backward({low_rank_linear(plain_x, plain_a, plain_b, 1.5, base, {}, dropout, 9)}, {g});
      EXPECT_TRUE(at::equal(x.grad(), plain_x.grad()));
      const auto gain = by_token ? m.unsqueeze(0) * n : m.unsqueeze(0).expand({7, 12});
      const auto hand_a = a.detach().clone().requires_grad_(), hand_b = b.detach().clone().requires_grad_();
      torch::autograd::backward({low_rank_linear(x.detach(), hand_a, hand_b, 1.5, base, {}, dropout, 9)}, {g * gain});
      EXPECT_LT(relative_error(a.grad(), hand_a.grad()), 16 * kUnit32);
      EXPECT_LT(relative_error(b.grad(), hand_b.grad()), 16 * kUnit32);
      EXPECT_EQ(b.grad()[4].abs().max().item<float>(), 0.0f);
    }
}

/// As fixture's train(), with the calls around the optimizer's step that the trainer makes.
void train_as_the_trainer(const Adapted& adapted, const testing::TinyBatch& batch, int64_t steps, double rate) {
  for (int64_t step = 0; step < steps; ++step) {
    adapted.clear_gradients();
    torch::autograd::backward({adapted.loss(batch, true, static_cast<uint64_t>(step))});
    adapted.attachment->before_step(step, 1);
    for (const auto& [name, tensor] : adapted.trainable()) tensor.detach().sub_(tensor.grad() * rate);
    adapted.attachment->after_step(step);
  }
}

const std::string kSameAsLora = "targets: [gate_proj, up_proj, down_proj]\nrank: 4\nalpha: 8";

TEST(NaLora, WithAllChannelsAndNoScalingItIsLoraStepForStep) {
  const auto batch = testing::tiny_batch();
  const auto lora = adapt("lora", kSameAsLora), same = adapt("na_lora", kSameAsLora + "\nkept_share: 1\nscaling: none\nmask_start: 1\nmask_refresh: 1");
  const auto other = adapt("na_lora", kSameAsLora + "\nscaling: none\nmask_start: 1\nmask_refresh: 1");
  for (const auto* one : {&lora, &same, &other}) train_as_the_trainer(*one, batch, 5, 0.05);
  bool differs = false;
  for (const auto& [name, tensor] : lora.attachment->state()) {
    EXPECT_TRUE(at::equal(tensor, same.attachment->state().at(name))) << name;
    differs |= !at::equal(tensor, other.attachment->state().at(name));
  }
  EXPECT_TRUE(differs) << "masks changed nothing";
}

TEST(NaLora, MasksChangeGradientsAndNoOutput) {
  const auto batch = testing::tiny_batch();
  const auto lora = adapt("lora", kSameAsLora), masked = adapt("na_lora", kSameAsLora + "\nmask_start: 1\nscaling: none");
  train_as_the_trainer(masked, batch, 1, 0.0);  // masks begin, nothing has moved
  masked.disturb(3), lora.disturb(3);
  for (const auto* one : {&lora, &masked}) one->clear_gradients();
  const auto right = lora.loss(batch, true), ours = masked.loss(batch, true);
  EXPECT_TRUE(at::equal(ours, right));
  torch::autograd::backward({right}), torch::autograd::backward({ours});
  const auto mask = kept(masked, kGate + ".mask");
  EXPECT_EQ(mask.sum().item<float>(), 48);  // half of 96
  const auto expected = leaf(lora, kGate + ".lora_B.weight").grad() * mask.unsqueeze(1);
  EXPECT_LT(relative_error(leaf(masked, kGate + ".lora_B.weight").grad(), expected), 16 * kUnit32);
  EXPECT_EQ((leaf(masked, kGate + ".lora_B.weight").grad().abs().sum({1}) * (1 - mask)).max().item<float>(), 0.0f);
  for (const auto& name : {kUp + ".lora_B.weight", kUp + ".lora_A.weight", std::string("model.layers.0.mlp.down_proj.lora_A.weight")})
    EXPECT_LT(relative_error(leaf(masked, name).grad(), leaf(lora, name).grad()), 16 * kUnit32) << name;  // others learn as ever
  const auto& slot = slot_of(masked, kGate);
  EXPECT_TRUE(at::equal(slot.adapter()->merged_weight(*slot.base()), slot_of(lora, kGate).adapter()->merged_weight(*slot_of(lora, kGate).base())));
  const auto both = adapt("na_lora", kSameAsLora + "\nmask_start: 1\nscaling: none\nmask_up: true");
  train_as_the_trainer(both, batch, 1, 0.0);
  both.disturb(3), both.clear_gradients();
  torch::autograd::backward({both.loss(batch, true)});
  EXPECT_EQ((leaf(both, kUp + ".lora_B.weight").grad().abs().sum({1}) * (1 - mask)).max().item<float>(), 0.0f);
}

TEST(NaLora, StepScalingActsOnTheUpdateOrOnTheGradient) {
  const auto batch = testing::tiny_batch();
  for (const std::string scaled : {"update", "gradient"}) {
    const auto options = kSameAsLora + "\nmask: none\nmask_start: 1\nmask_refresh: 1000\nscaled: " + scaled;
    const auto ours = adapt("na_lora", options), lora = adapt("lora", kSameAsLora);
    train_as_the_trainer(ours, batch, 1, 0.0);
    ours.disturb(3), lora.disturb(3);
    const auto name = kGate + ".lora_B.weight";
    const auto before = leaf(ours, name).detach().clone();
    ours.clear_gradients(), lora.clear_gradients();
    torch::autograd::backward({ours.loss(batch, true)}), torch::autograd::backward({lora.loss(batch, true)});
    const auto factor = kept(ours, kGate + ".step_factor").unsqueeze(1);
    EXPECT_LT(factor.max().item<float>(), 1.0f);  // random pre-activations are half the time below 0
    const auto plain = leaf(lora, name).grad();
    EXPECT_LT(relative_error(leaf(ours, name).grad(), scaled == "update" ? plain : plain * factor), 16 * kUnit32);
    ours.attachment->before_step(1, 1);
    for (const auto& [unused, tensor] : ours.trainable()) tensor.detach().sub_(tensor.grad() * 0.1);  // plain descent: both ways come to the same
    ours.attachment->after_step(1);
    EXPECT_LT(relative_error(leaf(ours, name).detach() - before, plain * factor * -0.1), 1e-4) << scaled;
  }
}

TEST(NaLora, AChannelThatIsOffIsMaskedAndOneThatIsOnIsNot) {
  const auto adapted = adapt("na_lora", "rank: 4\nmask_start: 3\nkept_share: 0.9", "llama");
  auto& slot = const_cast<LinearSlot&>(slot_of(adapted, kGate));
  slot.bias() = at::zeros({96});  // holds two channels where they are, whatever x is
  slot.bias()[5] = -8 * 4, slot.bias()[6] = 2 * 4;
  const auto batch = testing::tiny_batch();
  train_as_the_trainer(adapted, batch, 4, 0.01);
  const auto mask = kept(adapted, kGate + ".mask");
  EXPECT_EQ(mask[5].item<float>(), 0.0f);
  EXPECT_EQ(mask[6].item<float>(), 1.0f);
  EXPECT_EQ(mask.sum().item<float>(), 87);  // ⌈0.9 · 96⌉
}

TEST(NaLora, CheckpointedLayersAreWatchedOnce) {
  const auto batch = testing::tiny_batch();
  const auto plain = adapt("na_lora", "rank: 4"), again = adapt("na_lora", "rank: 4");
  torch::autograd::backward({plain.loss(batch, true, 1, Checkpointing::kOff)});
  torch::autograd::backward({again.loss(batch, true, 1, Checkpointing::kEveryLayer)});
  plain.attachment->after_step(0), again.attachment->after_step(0);
  for (const auto& [name, tensor] : plain.attachment->training_state()) EXPECT_TRUE(at::equal(tensor, kept(again, name))) << name;
  EXPECT_GT(kept(plain, kGate + ".importance").min().item<float>(), 0);
}

TEST(NaLora, EachTokensOwnSlopesCanMask) {
  const auto batch = testing::tiny_batch();
  const auto lora = adapt("lora", kSameAsLora), ours = adapt("na_lora", kSameAsLora + "\nmask: token\nscaling: none");
  lora.disturb(3), ours.disturb(3);
  torch::autograd::backward({lora.loss(batch, true)}), torch::autograd::backward({ours.loss(batch, true)});
  const auto name = kGate + ".lora_B.weight";
  EXPECT_GT(relative_error(leaf(ours, name).grad(), leaf(lora, name).grad()), 0.05);
  EXPECT_LT(relative_error(leaf(ours, kUp + ".lora_B.weight").grad(), leaf(lora, kUp + ".lora_B.weight").grad()), 16 * kUnit32);
}

TEST(NaLora, FilesAreLorasAndSayWhoMadeThem) {
  const auto adapted = adapt("na_lora", "rank: 4\nthreshold: 0.25");
  auto published = adapted.attachment->published_config();
  EXPECT_EQ(published.at("peft_type"), "LORA");
  EXPECT_EQ(published.at("use_dora"), false);
  EXPECT_FALSE(find_method("lora").from_published(published).has_value());
  EXPECT_EQ(find_method("na_lora").from_published(published)->find("threshold")->scalar, "0.25");
  published.erase("graft_method");  // what another tool would write
  EXPECT_TRUE(find_method("lora").from_published(published).has_value());
  for (const auto& [name, tensor] : adapted.attachment->state()) EXPECT_THAT(name, HasSubstr(".lora_"));
}

TEST(NaLora, WrongOptionsAreRefused) {
  EXPECT_THAT(refusal("na_lora", "targets: [q_proj]"), HasSubstr("method.gates"));
  EXPECT_THAT(refusal("na_lora", "gates: [gate]"), HasSubstr("method.gates"));
  EXPECT_THAT(refusal("na_lora", "kept_share: 0"), HasSubstr("kept_share"));
  EXPECT_THAT(refusal("na_lora", "decay: 1"), HasSubstr("decay"));
  EXPECT_THAT(refusal("na_lora", "mask_refresh: 0"), HasSubstr("mask_refresh"));
  EXPECT_EQ(refusal("na_lora", "activation: relu"), "accepted");  // without scaling, as it says
}

TEST(NaLora, ReluHasNoScaling) {
  const auto adapted = adapt("na_lora", kSameAsLora + "\nactivation: relu\nmask_start: 1");
  train_as_the_trainer(adapted, testing::tiny_batch(), 2, 0.01);
  EXPECT_EQ(kept(adapted, kGate + ".step_factor").min().item<float>(), 1.0f);
  EXPECT_EQ(kept(adapted, kGate + ".mask").min().item<float>(), 0.0f);
}

}  // namespace
}  // namespace graft::peft
