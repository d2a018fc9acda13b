#include "peft_core/methods/low_rank/adalora.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "peft_core/methods/low_rank/adalora_schedule.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::Adapted;
using testing::relative_error;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kQuery = "model.layers.0.self_attn.q_proj";
const std::string kShort = "init_r: 4\ntarget_r: 2\ntinit: 2\ntfinal: 3\ndeltaT: 2\n";

/// Steps [begin, end) of a run of 12, as the training loop makes them.
void train(const Adapted& adapted, int64_t begin, int64_t end, double gradient_scale = 1) {
  const auto batch = testing::tiny_batch();
  adapted.attachment->begin_training(12);
  for (int64_t step = begin; step < end; ++step) {
    adapted.clear_gradients();
    auto loss = adapted.loss(batch, true, static_cast<uint64_t>(step)) / 13;
    if (const auto extra = adapted.attachment->auxiliary_loss(); extra.defined()) loss = loss + extra;
    torch::autograd::backward({loss});
    adapted.attachment->before_step(step, gradient_scale);
    for (const auto& [name, tensor] : adapted.trainable()) tensor.detach().sub_(tensor.grad() * (0.5 * gradient_scale));
    adapted.clear_gradients();
    EXPECT_FALSE(adapted.attachment->after_step(step));
  }
}

int64_t values_left(const Adapted& adapted) {
  int64_t left = 0;
  for (const auto& [name, tensor] : adapted.attachment->state())
    if (name.ends_with("lora_E")) left += tensor.ne(0).sum().item<int64_t>();
  return left;
}

AdapterState copy_of(const AdapterState& state) {
  AdapterState copy;
  for (const auto& [name, tensor] : state) copy[name] = tensor.detach().clone();
  return copy;
}

TEST(Adalora, OutputIsTheSumOfItsTriplets) {
  const auto adapted = adapt("adalora", "init_r: 4\ntarget_r: 2\nalpha: 6\ntargets: [q_proj]");
  adapted.disturb(3);
  const auto state = adapted.attachment->state();
  const auto* slot = adapted.model->places().linears.front();
  ASSERT_EQ(slot->name(), kQuery);
  const auto part = [&](const std::string& name) { return state.at(kQuery + "." + name).detach().to(at::kDouble); };
  at::manual_seed(1);
  const auto x = at::randn({9, 64});
  const auto weight = slot->base()->weight().to(at::kDouble) + at::mm(part("lora_B"), part("lora_A") * part("lora_E")) * (6 / (4 + 1e-5));
  const auto expected = at::mm(x.to(at::kDouble), weight.t()) + slot->bias().to(at::kDouble);
  EXPECT_LT(relative_error(slot->forward(x, {}), expected), 64 * 0x1p-24);  // sums of 64 terms
}

// From PEFT 0.21.2's RankAllocator.budget_schedule with init_r 4 and target_r 2 on 14 layers, tinit 2, tfinal 3, 12 steps.
TEST(Adalora, TheBudgetFallsWithTheCubeOfTheTimeLeft) {
  const AdaloraSchedule schedule{.first = 56, .last = 28, .tinit = 2, .tfinal = 3, .interval = 2, .total = 12};
  std::vector<int64_t> budgets;
  for (int64_t step = 1; step <= 12; ++step) budgets.push_back(schedule.budget_at(step));
  EXPECT_THAT(budgets, ElementsAre(56, 56, 45, 38, 33, 30, 28, 28, 28, 28, 28, 28));
  EXPECT_FALSE(schedule.cuts_at(2));
  EXPECT_FALSE(schedule.cuts_at(5));
  EXPECT_TRUE(schedule.cuts_at(4));
  EXPECT_FALSE(schedule.cuts_at(9));  // settled there, which is another matter
  EXPECT_FALSE(schedule.scores_at(9));
}

TEST(Adalora, RanksGoAsTheScheduleSays) {
  const auto adapted = adapt("adalora", kShort);
  const auto expect_left = [&](int64_t begin, int64_t end, int64_t left) {
    train(adapted, begin, end);
    EXPECT_EQ(values_left(adapted), left) << "after step " << end;
  };
  expect_left(0, 2, 56);
  expect_left(2, 4, 38);   // a cut
  expect_left(4, 5, 56);   // none, and what was cut has a gradient and came back
  expect_left(5, 6, 30);
  expect_left(6, 8, 28);
  expect_left(8, 9, 28);   // settled
  expect_left(9, 12, 28);  // and it stays so
}

TEST(Adalora, ATripletIsScoredByItsSmoothedSensitivityAndUncertainty) {
  const auto adapted = adapt("adalora", "init_r: 3\ntarget_r: 1\ntargets: [q_proj]\nlayers: [0]\nbeta1: 0.7\nbeta2: 0.6\ntinit: 1");
  adapted.disturb(4);
  adapted.attachment->begin_training(4);
  const auto state = adapted.attachment->state();
  std::map<std::string, at::Tensor> mean, stray;
  at::manual_seed(2);
  for (int64_t step = 0; step < 2; ++step) {
    std::map<std::string, at::Tensor> gradients;
    for (const auto& [name, leaf] : state) gradients[name] = at::randn(leaf.sizes()), at::Tensor(leaf).mutable_grad() = gradients[name];
    adapted.attachment->before_step(step, 0.5);  // clipped: half of the gradients
    for (const auto& [name, leaf] : state) {
      leaf.detach().sub_(gradients[name] * 0.01);  // scores are of the values after the step
      const auto now = (leaf.detach() * gradients[name] * 0.5).abs().to(at::kDouble);
      if (!mean[name].defined()) mean[name] = at::zeros_like(now), stray[name] = at::zeros_like(now);
      mean[name] = mean[name] * 0.7 + now * 0.3;
      stray[name] = stray[name] * 0.6 + (now - mean[name]).abs() * 0.4;
      at::Tensor(leaf).mutable_grad().reset();
    }
    const auto values = state.at(kQuery + ".lora_E").detach().clone();
    adapted.attachment->after_step(step);
    const auto score = [&](const std::string& leaf) { return mean.at(kQuery + leaf) * stray.at(kQuery + leaf); };
    const auto scores = score(".lora_E").view({-1}) + score(".lora_A").mean(1) + score(".lora_B").mean(0);
    if (step == 0) continue;
    // Budget after step 2 of 4, one of which does not cut: 1 + int(2 · (2/3)³) = 1, so the best one is left.
    const auto best = scores.argmax().item<int64_t>();
    for (int64_t i = 0; i < 3; ++i)
      EXPECT_EQ(state.at(kQuery + ".lora_E")[i].item<float>(), i == best ? values[i].item<float>() : 0.0f) << i << " " << scores;
  }
}

TEST(Adalora, AFileHoldsTheTripletsThatAreLeft) {
  const auto first = adapt("adalora", kShort);
  train(first, 0, 12);
  const auto published = first.attachment->published_config();
  const auto saved = copy_of(first.attachment->saved_state());
  int64_t ranks = 0;
  for (const auto& [key, left] : published.at("rank_pattern").items()) {
    const auto rank = std::count(left.begin(), left.end(), true);
    EXPECT_EQ(left.size(), 4u);
    EXPECT_EQ(saved.at(key).size(0), rank) << key;
    EXPECT_EQ(saved.at(key.substr(0, key.size() - 1) + "B").size(1), rank) << key;
    ranks += rank;
  }
  EXPECT_EQ(ranks, 28);

  Adapted second{testing::tiny_model("qwen2"), nullptr};
  const auto& spec = find_method("adalora");
  second.attachment = spec.attach(second.model->places(), *spec.from_published(published), AttachContext(0, nullptr, /*from_file=*/true));
  load_state(*second.attachment, saved, "adapter");
  const auto batch = testing::tiny_batch();
  EXPECT_TRUE(at::equal(second.logits(batch), first.logits(batch)));
  EXPECT_EQ(second.attachment->saved_state().size(), saved.size());
  train(second, 0, 12);  // trained further, the ranks stay
  EXPECT_EQ(values_left(second), 28);
}

TEST(Adalora, ALayerMayLoseAllItsTriplets) {
  const auto published = [](const std::string& query) {
    return nlohmann::json{{"peft_type", "ADALORA"}, {"target_modules", {"q_proj"}}, {"init_r", 2}, {"target_r", 1}, {"total_step", 9},
                          {"rank_pattern", {{query + ".lora_E", {false, false}}, {"model.layers.1.self_attn.q_proj.lora_E", {false, true}}}}};
  };
  const auto& spec = find_method("adalora");
  Adapted adapted{testing::tiny_model("qwen2"), nullptr};
  const auto before = adapted.logits(testing::tiny_batch());
  adapted.attachment = spec.attach(adapted.model->places(), *spec.from_published(published(kQuery)), 1);
  EXPECT_TRUE(at::equal(adapted.logits(testing::tiny_batch()), before));
  EXPECT_EQ(adapted.trainable().size(), 3u);
  EXPECT_EQ(adapted.attachment->state().at(kQuery + ".lora_A").size(0), 0);
  adapted.train(testing::tiny_batch(), 2);
  adapted.attachment->merge(at::kFloat);
  EXPECT_THROW(spec.attach(adapted.model->places(), *spec.from_published(published("model.layers.9.stranger")), 1), std::exception);
}

/// A checkpoint holds state() and training_state(); what goes on from it has to have the same bits, before and after the ranks are settled.
TEST(Adalora, ResumedFromItsStateItGoesOnWithTheSameBits) {
  const auto whole = adapt("adalora", kShort);
  train(whole, 0, 12, 0.9);
  for (const int64_t stop : {5, 9, 10}) {
    const auto first = adapt("adalora", kShort), second = adapt("adalora", kShort, "qwen2", testing::kDense, /*seed=*/99);
    train(first, 0, stop, 0.9);
    second.attachment->begin_training(12);
    const auto from = first.attachment->training_state(), to = second.attachment->training_state();
    ASSERT_EQ(from.size(), to.size());
    ASSERT_FALSE(from.empty());
    load_state(*second.attachment, copy_of(first.attachment->state()), "checkpoint");
    for (size_t i = 0; i < from.size(); ++i) {
      ASSERT_EQ(from[i].first, to[i].first);
      to[i].second.copy_(from[i].second);
    }
    train(second, stop, 12, 0.9);
    const auto expected = whole.attachment->saved_state(), actual = second.attachment->saved_state();
    for (const auto& [name, tensor] : expected) EXPECT_TRUE(at::equal(actual.at(name), tensor)) << name << ", stopped after " << stop;
    EXPECT_EQ(second.attachment->published_config(), whole.attachment->published_config());
  }
}

TEST(Adalora, TheAuxiliaryLossIsTheMeanDeviationFromOrthogonal) {
  const auto adapted = adapt("adalora", "init_r: 3\ntarget_r: 2\ntargets: [q_proj, v_proj]\north_reg_weight: 0.7");
  adapted.disturb(3);
  double sum = 0;
  int64_t factors = 0;
  for (const auto& [name, tensor] : adapted.attachment->state()) {
    if (name.ends_with("lora_E")) continue;
    const auto factor = tensor.detach().to(at::kDouble), rows = name.ends_with("lora_A") ? factor : factor.t();
    sum += (at::mm(rows, rows.t()) - at::eye(3, at::kDouble)).square().sum().sqrt().item<double>(), ++factors;
  }
  EXPECT_EQ(factors, 8);
  EXPECT_NEAR(adapted.attachment->auxiliary_loss().item<double>(), 0.7 * sum / 8, 64 * 0x1p-24);  // values near 1, sums of 64 terms
  EXPECT_FALSE(adapt("adalora", "orth_reg_weight: 0").attachment->auxiliary_loss().defined());
}

TEST(Adalora, LimitsAreChecked) {
  const auto refusal = [](const char* options) { return testing::refusal("adalora", options); };
  EXPECT_THAT(refusal("target_r: 13"), HasSubstr("method.target_r"));
  EXPECT_THAT(refusal("init_r: 0"), HasSubstr("method.init_r"));
  EXPECT_THAT(refusal("beta1: 1"), HasSubstr("method.beta1"));
  EXPECT_THAT(refusal("deltaT: 0"), HasSubstr("method.deltaT"));
  EXPECT_THAT(refusal("total_step: 10\ntinit: 6\ntfinal: 4"), HasSubstr("method.tinit"));
  const auto adapted = adapt("adalora", "tinit: 6\ntfinal: 4");
  EXPECT_THROW(adapted.attachment->begin_training(10), std::exception);
}

}  // namespace
}  // namespace graft::peft
