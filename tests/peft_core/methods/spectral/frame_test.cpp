#include "peft_core/methods/spectral/frame.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/methods/spectral/expert_routing.h"
#include "peft_core/methods/spectral/fractional_fourier.h"
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
const std::string kQuery = "model.layers.0.self_attn.q_proj", kDown = "model.layers.1.mlp.down_proj";

at::Tensor leaf(const Adapted& adapted, const std::string& name) { return adapted.attachment->state().at(name); }

TEST(ExpertRouting, GatesAreTheLargestProbabilitiesOverTheirSum) {
  const auto logits = at::tensor({1.f, 3.f, 2.f, -1.f, -2.f, 0.f}).view({2, 3});
  const auto two = route(logits, 2), one = route(logits, 1);
  const auto p = logits.softmax(1);
  EXPECT_TRUE(at::equal(two.chosen, at::tensor({0.f, 1.f, 1.f, 1.f, 0.f, 1.f}).view({2, 3})));
  EXPECT_NEAR(two.gates[0][1].item<double>(), (p[0][1] / (p[0][1] + p[0][2])).item<double>(), 1e-6);
  EXPECT_LT((two.gates.sum({1}) - 1).abs().max().item<double>(), 1e-6);
  EXPECT_NEAR(one.gates[0][1].item<double>(), p[0][1].item<double>(), 1e-6);  // not 1: that would have no gradient
  EXPECT_EQ(one.gates[0][0].item<float>(), 0);
}

TEST(ExpertRouting, BalanceIsOneWhereEvenAndGrowsWithTheShareOfOneGroup) {
  const auto groups = at::eye(2);
  const auto even = route(at::tensor({5.f, 0.f, 0.f, 5.f}).view({2, 2}), 1), one_sided = route(at::tensor({5.f, 0.f, 5.f, 0.f}).view({2, 2}), 1);
  EXPECT_NEAR(group_balance(even, groups).item<double>(), 1, 1e-6);
  EXPECT_GT(group_balance(one_sided, groups).item<double>(), 1.9);
}

TEST(ExpertRouting, AnExtraLossReachesItsLeavesAndChangesNoOutput) {
  const auto w = at::randn({3}).requires_grad_(), v = at::randn({3}).requires_grad_();
  const auto y = with_extra_loss(w * 2, (v * v).sum());
  EXPECT_TRUE(at::equal(y, w * 2));
  torch::autograd::backward({y.sum() * 7});
  EXPECT_TRUE(at::equal(w.grad(), at::full({3}, 14.f)));
  EXPECT_TRUE(at::equal(v.grad(), v.detach() * 2));  // not times 7: it is a loss of its own
}

/// Sets noise and returns the layer's tensors in float64.
struct Exact {
  at::Tensor a, b, order, router, x;
};
Exact exact_leaves(const Adapted& adapted, const std::string& name, const at::Tensor& x) {
  const auto leaf64 = [&](const std::string& part) {
    const auto state = adapted.attachment->state();
    const auto found = state.find(name + "." + part);
    return found == state.end() ? at::Tensor() : found->second.detach().to(at::kDouble).requires_grad_();
  };
  return {leaf64("frame_A"), leaf64("frame_B"), leaf64("frame_order"), leaf64("frame_router.weight"), x.detach().to(at::kDouble).requires_grad_()};
}

/// The card's token path: transforms of the tokens, expert by expert, in float64.
at::Tensor token_path(const Exact& e, const LinearSlot& slot, const at::Tensor& orders, int64_t top, double scale, bool input_only) {
  auto y = at::mm(e.x, slot.base()->weight().to(at::kDouble).t());
  if (slot.bias().defined()) y = y + slot.bias().to(at::kDouble);
  const auto p = at::mm(e.x, e.router.t()).softmax(1);
  const auto chosen = at::zeros_like(p).scatter_(1, std::get<1>(p.detach().topk(top, 1)), 1.0);
  const auto gates = p * chosen / (p * chosen).sum({1}, true);
  for (int64_t i = 0; i < e.a.size(0); ++i) {
    const auto order = orders.narrow(0, i, 1);
    const auto latent = at::mm(fractional_fourier(e.x, order), e.a[i].t().to(at::kComplexDouble));
    const auto wide = at::mm(latent, e.b[i].t().to(at::kComplexDouble));
    const auto update = at::real(input_only ? wide : fractional_fourier(wide, -order));
    y = y + update * gates.select(1, i).unsqueeze(1) * scale;
  }
  return y;
}

TEST(Frame, TurnedFactorsGiveWhatTurnedTokensGive) {
  for (const auto& name : {kQuery, kDown})
    for (const bool input_only : {false, true}) {
      const auto adapted = adapt("frame", std::string("rank: 3\nexperts: 4\nscale: 1.5\ntargets: [q_proj, down_proj]\nsides: ") + (input_only ? "input" : "both"));
      adapted.disturb(3);
      const auto& slot = slot_of(adapted, name);
      at::manual_seed(1);
      const auto x = at::randn({9, slot.base()->in_features()}).requires_grad_(), g = at::randn({9, slot.base()->out_features()});
      const auto exact = exact_leaves(adapted, name, x);
      const auto expected = token_path(exact, slot, at::sigmoid(exact.order), 2, 1.5, input_only);
      torch::autograd::backward({expected}, {g.to(at::kDouble)});
      const auto y = slot.forward(x, {});
      torch::autograd::backward({y}, {g});
      // Sums of up to 96 terms and transforms of six roundings; the order's gradient multiplies with phases of π d / 4 = 75.
      constexpr double kTolerance = 4 * 96 * kUnit32;
      EXPECT_LT(relative_error(y, expected), kTolerance) << name;
      EXPECT_LT(relative_error(x.grad(), exact.x.grad()), kTolerance) << name;
      EXPECT_LT(relative_error(leaf(adapted, name + ".frame_A").grad(), exact.a.grad()), kTolerance) << name;
      EXPECT_LT(relative_error(leaf(adapted, name + ".frame_B").grad(), exact.b.grad()), kTolerance) << name;
      EXPECT_LT(relative_error(leaf(adapted, name + ".frame_router.weight").grad(), exact.router.grad()), 4 * kTolerance) << name;
      EXPECT_LT(relative_error(leaf(adapted, name + ".frame_order").grad(), exact.order.grad()), 75 * kTolerance) << name;
    }
}

TEST(Frame, AtOrderZeroOneExpertIsLoraBitForBit) {
  const auto batch = testing::tiny_batch();
  const auto frame = adapt("frame", "rank: 4\nexperts: 1\ntop: 1\norders: [0]\nlearn_orders: false"), lora = adapt("lora", "rank: 4\nalpha: 4");
  lora.disturb(3);
  AdapterState same;
  for (const auto* slot : lora.model->places().linears) {
    same[slot->name() + ".frame_A"] = leaf(lora, slot->name() + ".lora_A.weight").detach().unsqueeze(0);
    same[slot->name() + ".frame_B"] = leaf(lora, slot->name() + ".lora_B.weight").detach().unsqueeze(0);
    same[slot->name() + ".frame_order"] = at::zeros({1});
  }
  load_state(*frame.attachment, same, "lora");
  EXPECT_TRUE(at::equal(frame.logits(batch), lora.logits(batch)));
  EXPECT_TRUE(at::equal(frame.loss(batch), lora.loss(batch)));
}

TEST(Frame, AtOrderOneAnExpertIsTheRealPartOfTheFourierUpdate) {
  const auto adapted = adapt("frame", "rank: 3\nexperts: 1\ntop: 1\norders: [1]\nlearn_orders: false\ntargets: [down_proj]");
  adapted.disturb(3);
  const auto& slot = slot_of(adapted, kDown);
  const auto a = leaf(adapted, kDown + ".frame_A")[0].detach().to(at::kComplexDouble), b = leaf(adapted, kDown + ".frame_B")[0].detach().to(at::kComplexDouble);
  const auto u_in = centred_dft(at::eye(96, at::kComplexDouble)), u_out = centred_dft(at::eye(64, at::kComplexDouble));
  const auto update = at::real(at::mm(at::mm(u_out.conj().t(), b), at::mm(a, u_in)));
  const auto merged = slot.adapter()->merged_weight(*slot.base());
  EXPECT_LT(relative_error(merged - slot.base()->weight(), update, 1.0), 32 * kUnit32);
}

TEST(Frame, OneExpertMergesAndSeveralAreRefused) {
  auto adapted = adapt("frame", "rank: 4\nexperts: 1\ntop: 1\norders: [0.4]");
  adapted.disturb(3);
  const auto batch = testing::tiny_batch();
  const auto before = adapted.logits(batch);
  adapted.attachment->merge(at::kFloat);
  EXPECT_LT(relative_error(adapted.logits(batch), before.to(at::kDouble)), 15 * 16 * kUnit32);
}

TEST(Frame, GradientsAreSlopesOfTheLossWhereEveryTokenGoesToAllExperts) {
  const auto adapted = adapt("frame", "rank: 4\nexperts: 3\ntop: 3\ntargets: [down_proj]");
  const auto batch = testing::tiny_batch();
  adapted.disturb(3), adapted.clear_gradients();
  torch::autograd::backward({adapted.loss(batch)});
  for (const auto& [name, tensor] : adapted.trainable()) {
    const auto gradient = tensor.grad().clone();
    const double length = gradient.norm().item<double>();
    if (length < 1e-3) continue;
    // An order turns phases of up to π d / 4 = 75, so its steps are short; fp32's rounding of the loss, some 4e-6, then shows in the slope.
    const double h = name.ends_with("frame_order") ? 0.004 : 0.02;
    const double ratio = testing::slope_along_gradient([&] { return adapted.exact_loss(batch); }, tensor, gradient, h);
    EXPECT_NEAR(ratio, 1.0, 1e-2 + 1e-5 / h / length) << name << " of length " << length;
  }
}

TEST(Frame, Bf16GradientsAreThoseOfFp32WhereNoTokenCanGoElsewhere) {
  const auto batch = testing::tiny_batch();
  const auto fp32 = adapt("frame", "rank: 4\nexperts: 4\ntop: 4"), bf16 = adapt("frame", "rank: 4\nexperts: 4\ntop: 4", "qwen2", testing::kDenseBf16);
  for (const auto* one : {&fp32, &bf16}) one->disturb(3), torch::autograd::backward({one->loss(batch)});
  const auto expected = fp32.trainable(), actual = bf16.trainable();
  double dot = 0, own = 0, right = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto e = expected[i].second.grad().to(at::kDouble), a = actual[i].second.grad().to(at::kDouble);
    dot += (a * e).sum().item<double>(), own += a.square().sum().item<double>(), right += e.square().sum().item<double>();
  }
  EXPECT_GT(dot / std::sqrt(own * right), 1 - 0.04 * 0.04 / 2);  // the bound of the conformance suite
}

TEST(Frame, ExpertsAtSpreadOrdersAreLessAlikeThanAtOneOrder) {
  const auto mean_cosine = [](const std::string& orders) {
    const auto adapted = adapt("frame", "rank: 4\nexperts: 4\nlearn_orders: false\ntargets: [q_proj]\norders: " + orders, "llama");
    at::NoGradGuard no_gradient;
    // The same A and B in all experts, so that only their orders tell them apart.
    const auto a = leaf(adapted, kQuery + ".frame_A"), b = leaf(adapted, kQuery + ".frame_B");
    at::manual_seed(4);
    a.copy_(at::randn({1, 4, 64}).expand_as(a)), b.copy_(at::randn({1, 64, 4}).expand_as(b));
    const auto used = leaf(adapted, kQuery + ".frame_order").detach().to(at::kDouble);
    std::vector<at::Tensor> updates;
    for (int64_t e = 0; e < 4; ++e) {
      const auto turned_a = fractional_fourier(a[e].to(at::kDouble), used.narrow(0, e, 1));
      const auto turned_b = fractional_fourier(b[e].t().to(at::kDouble), -used.narrow(0, e, 1));
      updates.push_back(at::real(at::mm(turned_b.t(), turned_a)).flatten());
    }
    double sum = 0;
    for (size_t i = 0; i < 4; ++i)
      for (size_t j = 0; j < i; ++j)
        sum += std::abs(at::dot(updates[i], updates[j]).item<double>()) / (updates[i].norm() * updates[j].norm()).item<double>();
    return sum / 6;
  };
  EXPECT_NEAR(mean_cosine("[0.5, 0.5, 0.5, 0.5]"), 1, 1e-6);
  EXPECT_LT(mean_cosine("[0, 0.333, 0.667, 1]"), 0.15);
}

TEST(Frame, OrdersStartSpreadAndLearnLateClippedAndWithoutDecay) {
  const auto adapted = adapt("frame", "rank: 2\nexperts: 3\norder_start: 2\norder_clip: 0.5\ntargets: [down_proj]");
  const auto theta = leaf(adapted, kDown + ".frame_order");
  const auto orders = at::sigmoid(theta.detach());
  EXPECT_LT((orders - at::tensor({0.02f, 0.5f, 0.98f})).abs().max().item<double>(), 1e-6);
  for (const auto& group : adapted.attachment->trainable()) {
    EXPECT_EQ(group.weight_decay, group.name != "frame_order") << group.name;
    EXPECT_EQ(group.learning_rate_factor, group.name == "frame_order" ? 5 : 1) << group.name;
  }
  theta.mutable_grad() = at::tensor({3.f, 0.f, 4.f});
  adapted.attachment->before_step(1, 1.0);
  EXPECT_EQ(theta.grad().abs().max().item<float>(), 0);
  theta.mutable_grad() = at::tensor({3.f, 0.f, 4.f});
  adapted.attachment->before_step(2, 0.2);  // the optimizer takes the gradient times 0.2: length 1, twice what is allowed
  EXPECT_LT((theta.grad() - at::tensor({1.5f, 0.f, 2.f})).abs().max().item<double>(), 1e-6);
}

TEST(Frame, BalanceActsOnTheRouterWhileTrainingOnly) {
  const auto batch = testing::tiny_batch();
  const auto with = adapt("frame", "balance: 1\ntargets: [down_proj]"), without = adapt("frame", "balance: 0\ntargets: [down_proj]");
  for (const bool training : {false, true}) {
    for (const auto* one : {&with, &without}) one->clear_gradients(), torch::autograd::backward({one->loss(batch, training)});
    const auto router = kDown + ".frame_router.weight";
    const bool same = at::equal(leaf(with, router).grad(), leaf(without, router).grad());
    EXPECT_EQ(same, !training);
    EXPECT_TRUE(at::equal(leaf(with, kDown + ".frame_B").grad(), leaf(without, kDown + ".frame_B").grad()));
  }
  // At the start B = 0, so all that moves the router is the balance. In a layer that is computed again it does so, too.
  const auto plain = leaf(with, kDown + ".frame_router.weight").grad().clone();
  with.clear_gradients();
  torch::autograd::backward({with.loss(batch, true, 0, Checkpointing::kEveryLayer)});
  EXPECT_GT(plain.abs().max().item<float>(), 0);
  EXPECT_TRUE(at::equal(leaf(with, kDown + ".frame_router.weight").grad(), plain));
}

TEST(Frame, FactorsOfPredictionFollowTheirTensors) {
  const auto adapted = adapt("frame", "rank: 2\ntargets: [down_proj]");
  const auto batch = testing::tiny_batch();
  const auto before = adapted.logits(batch);
  adapted.disturb(3);
  EXPECT_FALSE(at::equal(adapted.logits(batch), before));
}

TEST(Frame, ParametersAreThoseOfTheFormula) {
  const auto adapted = adapt("frame", "rank: 2\nexperts: 3");
  int64_t trainable = 0, expected = 0;
  for (const auto& [name, tensor] : adapted.trainable()) trainable += tensor.numel();
  for (const auto* slot : adapted.model->places().linears)
    expected += 3 * 2 * (slot->base()->in_features() + slot->base()->out_features()) + 3 * slot->base()->in_features() + 3;
  EXPECT_EQ(trainable, expected);
}

TEST(Frame, WrongOptionsAndOddLayersAreRefused) {
  EXPECT_THAT(refusal("frame", "top: 9"), HasSubstr("method.top"));
  EXPECT_THAT(refusal("frame", "top: 0"), HasSubstr("method.top"));
  EXPECT_THAT(refusal("frame", "rank: 33"), HasSubstr("k_proj"));
  EXPECT_THAT(refusal("frame", "orders: [0, 1]"), HasSubstr("method.orders"));
  EXPECT_THAT(refusal("frame", "experts: 2\norders: [0, 1.5]"), HasSubstr("method.orders"));
  LinearSlot odd("block.odd", dense_linear(at::randn({6, 5})), {});
  Places places;
  places.linears = {&odd};
  try {
    find_method("frame").attach(places, testing::method_section("frame", "rank: 2"), AttachContext(1));
    FAIL() << "accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("block.odd"), HasSubstr("5 -> 6")));
  }
}

}  // namespace
}  // namespace graft::peft
