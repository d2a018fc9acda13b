#include "peft_core/methods/low_rank/lite_lora.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/price_gate.h"
#include "peft_core/methods/task_sequence.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::Adapted;
using testing::method_section;
using testing::relative_error;
using testing::TinyBatch;
using ::testing::HasSubstr;

constexpr double kUnit32 = 0x1p-24;
const std::string kQuery = "model.layers.0.self_attn.q_proj";

at::Tensor leaf(const Adapted& adapted, const std::string& name) { return adapted.attachment->state().at(name); }
double logit_of(const Adapted& adapted) {
  for (const auto& [name, tensor] : adapted.attachment->training_state())
    if (name == "lite_lora_gate.logit") return tensor.item<double>();
  throw std::runtime_error("no gate");
}

void begin_task(const Adapted& adapted, const std::string& options = "", uint64_t seed = 7) {
  dynamic_cast<TaskSequence&>(*adapted.attachment).begin_task(method_section("lite_lora", options), seed);
}

double mean_loss(const Adapted& adapted, const TinyBatch& batch) {
  return adapted.exact_loss(batch) / static_cast<double>((batch.targets >= 0).sum().item<int64_t>());
}

/// The trainer's loop with Adam, without schedule: mean loss, auxiliary loss, calls around the step.
void learn(const Adapted& adapted, const TinyBatch& batch, int64_t steps, double rate = 0.01) {
  const double targets = static_cast<double>((batch.targets >= 0).sum().item<int64_t>());
  std::map<std::string, std::pair<at::Tensor, at::Tensor>> moments;
  adapted.attachment->begin_training(steps);
  for (int64_t step = 0; step < steps; ++step) {
    adapted.clear_gradients();
    auto loss = adapted.loss(batch, true, static_cast<uint64_t>(step)) / targets;
    if (const auto extra = adapted.attachment->auxiliary_loss(); extra.defined()) loss = loss + extra;
    torch::autograd::backward({loss});
    adapted.attachment->before_step(step, 1);
    at::NoGradGuard no_gradient;
    const auto t = static_cast<double>(step + 1);
    for (const auto& [name, tensor] : adapted.trainable()) {
      auto& [m, v] = moments[name];
      if (!m.defined()) m = at::zeros_like(tensor), v = at::zeros_like(tensor);
      m.mul_(0.9).add_(tensor.grad(), 0.1), v.mul_(0.999).addcmul_(tensor.grad(), tensor.grad(), 0.001);
      tensor.detach().sub_(m / (1 - std::pow(0.9, t)) / ((v / (1 - std::pow(0.999, t))).sqrt() + 1e-8) * rate);
    }
    adapted.attachment->after_step(step);
  }
}

/// What a file would give back, in a model of its own.
Adapted reloaded(const Adapted& adapted) {
  Adapted second{testing::tiny_model("llama"), nullptr};
  const auto section = find_method("lite_lora").from_published(adapted.attachment->published_config());
  second.attachment = find_method("lite_lora").attach(second.model->places(), *section, AttachContext(99, nullptr, /*from_file=*/true));
  AdapterState saved;
  for (const auto& [name, tensor] : adapted.attachment->saved_state()) saved[name] = tensor.detach().clone();
  load_state(*second.attachment, saved, "file");
  return second;
}

/// Other tokens, which the model continues in another way.
TinyBatch other_task() { return testing::tiny_batch({9, 11}, 40); }
const std::string kSmall = "rank: 4\ntargets: [q_proj, v_proj]";

TEST(PriceGate, IsZeroOrOneWithTheSigmoidsGradient) {
  PriceGate gate({.noise = GateNoise::kNone, .temperature = 0.5});
  for (const float logit : {-1.5f, -0.01f, 0.01f, 2.0f}) {
    gate.logit().detach().fill_(logit);
    gate.logit().mutable_grad() = at::Tensor();
    const auto beta = gate.sample(1);
    EXPECT_EQ(beta.item<float>(), logit > 0 ? 1.0f : 0.0f);
    EXPECT_EQ(gate.open(), logit >= 0);
    torch::autograd::backward({beta.sum()});
    const double s = 1 / (1 + std::exp(-logit / 0.5));
    EXPECT_NEAR(gate.logit().grad().item<double>(), s * (1 - s) / 0.5, 1e-6);
  }
}

TEST(PriceGate, OneGumbelSampleLeansToOpenAndLogisticNoiseDoesNot) {
  constexpr int64_t kDraws = 20000;
  for (const auto& [noise, logit, expected] : {std::tuple{GateNoise::kGumbel, 0.0f, 1 - std::exp(-1.0)}, {GateNoise::kGumbel, -1.0f, 1 - std::exp(-std::exp(-1.0))},
                                               {GateNoise::kLogistic, 0.0f, 0.5}, {GateNoise::kLogistic, 1.0f, 1 / (1 + std::exp(-1.0))}}) {
    PriceGate gate({.noise = noise});
    gate.logit().detach().fill_(logit);
    at::NoGradGuard no_gradient;
    double open = 0;
    for (uint64_t seed = 0; seed < kDraws; ++seed) open += gate.sample(seed).item<double>();
    EXPECT_NEAR(open / kDraws, expected, 5 * std::sqrt(expected * (1 - expected) / kDraws));
  }
}

TEST(PriceGate, LearnsAsAdamWDoes) {
  PriceGate gate({.noise = GateNoise::kNone});
  double l = 0.5, m = 0, v = 0;
  for (int t = 1; t <= 5; ++t) {
    const double g = 0.1 * t - 0.25;
    gate.logit().mutable_grad() = at::full({1}, g, at::kFloat);
    gate.learn();
    m = 0.9 * m + 0.1 * g, v = 0.999 * v + 0.001 * g * g;
    l = l * (1 - 0.05 * 0.01) - 0.05 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
    EXPECT_NEAR(gate.logit().item<double>(), l, 1e-5);
    EXPECT_FALSE(gate.logit().grad().defined());
  }
}

TEST(LiteLora, ANewTaskChangesNoOutputBeforeItLearns) {
  const auto batch = testing::tiny_batch();
  const auto adapted = adapt("lite_lora", kSmall, "llama");
  learn(adapted, batch, 10);
  const auto before = adapted.logits(batch);
  begin_task(adapted);
  // The last adapter is divided by its length and multiplied with it: two roundings of a small part.
  EXPECT_LT(relative_error(adapted.logits(batch), before.to(at::kDouble)), 64 * kUnit32);
  EXPECT_LT(relative_error(leaf(adapted, "lite_lora_strengths").narrow(0, 1, 1), at::ones({1})), 1e-9);
}

TEST(LiteLora, ReleasedHandoverMakesEveryLayersLengthOne) {
  const auto adapted = adapt("lite_lora", kSmall + "\nhandover: released", "llama");
  adapted.disturb(3);
  const auto& slot = slot_of(adapted, kQuery);
  const auto a = leaf(adapted, kQuery + ".lite_lora_A.0").detach().to(at::kDouble), b = leaf(adapted, kQuery + ".lite_lora_B.0").detach().to(at::kDouble);
  begin_task(adapted);
  const auto update = slot.adapter()->merged_weight(*slot.base()) - slot.base()->weight();
  EXPECT_LT(relative_error(update, at::mm(b, a) / (a.norm() * b.norm()), 1.0), 8 * kUnit32);
  // Another scale of A or B would have given the same.
  const auto scaled = adapt("lite_lora", kSmall + "\nhandover: released", "llama");
  scaled.disturb(3);
  leaf(scaled, kQuery + ".lite_lora_A.0").detach().mul_(3), leaf(scaled, kQuery + ".lite_lora_B.0").detach().mul_(0.2);
  begin_task(scaled);
  const auto& other = slot_of(scaled, kQuery);
  EXPECT_LT(relative_error(other.adapter()->merged_weight(*other.base()) - other.base()->weight(), update.to(at::kDouble)), 1e-4);
}

TEST(LiteLora, OutputIsThatOfTheFormulaAndMergesExactly) {
  const auto batch = testing::tiny_batch();
  auto adapted = adapt("lite_lora", kSmall, "llama");
  adapted.disturb(3), begin_task(adapted), adapted.disturb(4), begin_task(adapted), adapted.disturb(5);
  const auto& slot = slot_of(adapted, kQuery);
  const auto alpha = leaf(adapted, "lite_lora_strengths").detach().to(at::kDouble);
  auto update = at::zeros({64, 64}, at::kDouble);
  for (int64_t i = 0; i < 3; ++i) {
    const auto part = [&](const std::string& which) { return leaf(adapted, kQuery + ".lite_lora_" + which + "." + std::to_string(i)).detach().to(at::kDouble); };
    update += at::mm(part("B"), part("A")) * alpha[i];
  }
  const auto x = at::randn({5, 64});
  const auto expected = at::mm(x.to(at::kDouble), slot.base()->weight().to(at::kDouble).t() + update.t());
  EXPECT_LT(relative_error(slot.forward(x, {}), expected), 64 * kUnit32);
  const auto before = adapted.logits(batch);
  adapted.attachment->merge(at::kFloat);
  EXPECT_LT(relative_error(adapted.logits(batch), before.to(at::kDouble)), 15 * 16 * kUnit32);
}

TEST(LiteLora, PhasesTrainWhatTheyShould) {
  const auto batch = testing::tiny_batch();
  const auto adapted = adapt("lite_lora", kSmall + "\nselection_share: 0.5", "llama");
  learn(adapted, batch, 4);
  EXPECT_TRUE(adapted.attachment->training_state().empty());  // the first task has no gate
  begin_task(adapted);
  std::map<std::string, at::Tensor> old;
  for (const auto& [name, tensor] : adapted.attachment->state())
    if (name.ends_with(".0")) old[name] = tensor.clone();
  const auto targets = static_cast<double>((batch.targets >= 0).sum().item<int64_t>());
  adapted.attachment->begin_training(4);
  for (int64_t step = 0; step < 4; ++step) {
    std::map<std::string, at::Tensor> before;
    for (const auto& [name, tensor] : adapted.trainable()) before[name] = tensor.detach().clone();
    const double logit = logit_of(adapted);
    adapted.clear_gradients();
    auto loss = adapted.loss(batch, true, static_cast<uint64_t>(step)) / targets;
    const auto extra = adapted.attachment->auxiliary_loss();
    EXPECT_EQ(extra.defined(), step >= 2);
    torch::autograd::backward({extra.defined() ? loss + extra : loss});
    adapted.attachment->before_step(step, 1);
    for (const auto& [name, tensor] : adapted.trainable()) tensor.detach().sub_(tensor.grad() * 0.05).add_(0.001);  // momentum moves it, too
    adapted.attachment->after_step(step);
    for (const auto& [name, tensor] : adapted.trainable()) EXPECT_EQ(at::equal(tensor, before.at(name)), step >= 2) << name << " in step " << step;
    EXPECT_EQ(logit_of(adapted) != logit, step >= 2);
  }
  for (const auto& [name, value] : old) EXPECT_TRUE(at::equal(leaf(adapted, name), value)) << name;
  std::set<std::string> trained;
  for (const auto& group : adapted.attachment->trainable()) trained.insert(group.name);
  EXPECT_EQ(trained, (std::set<std::string>{"lite_lora_A", "lite_lora_B", "lite_lora_strengths"}));
}

TEST(LiteLora, TheGateShutsForTheSameTaskAndStaysOpenForAnother) {
  for (const auto* noise : {"gumbel", "logistic"}) {
    const auto same = adapt("lite_lora", kSmall, "llama"), other = adapt("lite_lora", kSmall, "llama");
    const std::string options = std::string("price: 0.05\nselection_share: 0.7\nnoise: ") + noise;
    for (const auto* one : {&same, &other}) learn(*one, testing::tiny_batch(), 100), begin_task(*one, options);
    learn(same, testing::tiny_batch(), 80), learn(other, other_task(), 80);
    EXPECT_LT(logit_of(same), 0) << noise;
    EXPECT_GT(logit_of(other), 0) << noise;
    // The cross-check: what the adapter is worth in mean loss, against its price.
    const auto worth = [](const Adapted& adapted, const TinyBatch& batch) {
      at::NoGradGuard no_gradient;
      const auto strength = leaf(adapted, "lite_lora_strengths").detach().narrow(0, 1, 1), kept = strength.clone();
      const double with = mean_loss(adapted, batch);
      strength.zero_();
      const double without = mean_loss(adapted, batch);
      strength.copy_(kept);
      return without - with;
    };
    for (const auto& [name, tensor] : same.attachment->training_state())
      if (name == "lite_lora_gate.logit") tensor.detach().fill_(1);  // opened once more, to be measured
    EXPECT_LT(worth(same, testing::tiny_batch()), 0.05);
    EXPECT_GT(worth(other, other_task()), 0.05);
  }
}

TEST(LiteLora, APriceOfNothingKeepsAndAHighOneDrops) {
  for (const auto& [price, kept] : {std::pair{"0", true}, {"100", false}}) {
    const auto adapted = adapt("lite_lora", kSmall, "llama");
    learn(adapted, testing::tiny_batch(), 20);
    begin_task(adapted, std::string("selection_share: 0.7\nprice: ") + price);
    learn(adapted, other_task(), 60);
    EXPECT_EQ(logit_of(adapted) >= 0, kept) << price;
  }
}

TEST(LiteLora, ADroppedAdapterAddsNothingNowAndAfterReloading) {
  const auto batch = testing::tiny_batch();
  const auto adapted = adapt("lite_lora", kSmall, "llama");
  learn(adapted, batch, 20);
  begin_task(adapted, "selection_share: 0.8\nprice: 100");
  learn(adapted, other_task(), 60);
  ASSERT_LT(logit_of(adapted), 0);
  const auto now = adapted.logits(batch);
  EXPECT_GT(leaf(adapted, kQuery + ".lite_lora_B.1").abs().max().item<float>(), 0);
  leaf(adapted, kQuery + ".lite_lora_B.1").detach().fill_(1e6);
  EXPECT_TRUE(at::equal(adapted.logits(batch), now));
  EXPECT_FALSE(adapted.attachment->saved_state().contains(kQuery + ".lite_lora_B.1"));
  EXPECT_EQ(adapted.attachment->published_config().at("tasks"), 1);
  const auto second = reloaded(adapted);
  EXPECT_LT(relative_error(second.logits(batch), now.to(at::kDouble)), 64 * kUnit32);
  EXPECT_EQ(leaf(second, "lite_lora_strengths").numel(), 1);
}

TEST(LiteLora, AResumedRunFindsItsPhase) {
  const auto adapted = adapt("lite_lora", kSmall, "llama"), again = adapt("lite_lora", kSmall, "llama");
  for (const auto* one : {&adapted, &again}) begin_task(*one, "selection_share: 0.5");
  learn(adapted, testing::tiny_batch(), 8);
  again.attachment->begin_training(8);
  EXPECT_FALSE(again.attachment->auxiliary_loss().defined());
  const auto from = adapted.attachment->training_state(), to = again.attachment->training_state();
  for (size_t i = 0; i < to.size(); ++i) to[i].second.detach().copy_(from[i].second.detach());
  EXPECT_TRUE(again.attachment->auxiliary_loss().defined());
  EXPECT_EQ(logit_of(again), logit_of(adapted));
}

int64_t stored_values(const Adapted& adapted) {
  int64_t count = 0;
  for (const auto& [name, tensor] : adapted.attachment->saved_state()) count += tensor.numel();
  return count;
}

/// Mean over the earlier tasks of what their loss rose by since each was learnt.
double forgetting(const std::vector<std::vector<double>>& losses) {  // losses[after task][of task]
  double sum = 0;
  const size_t last = losses.size() - 1;
  for (size_t task = 0; task < last; ++task) sum += losses[last][task] - losses[task][task];
  return sum / static_cast<double>(last);
}

TEST(LiteLora, ForgettingOfAHandExample) { EXPECT_NEAR(forgetting({{1, 5, 5}, {1.5, 2, 5}, {2, 2.5, 1}}), (1.0 + 0.5) / 2, 1e-12); }

TEST(LiteLora, OverThreeTasksItGrowsLessThanAnAdapterATaskAndForgetsLessThanLoraInSequence) {
  // The second task comes back to the first's data; the third is another.
  const std::vector<TinyBatch> tasks = {testing::tiny_batch({7, 1, 12}), testing::tiny_batch({7, 1, 12}), other_task()};
  const auto lora = adapt("lora", kSmall + "\nalpha: 4", "llama");
  auto lite = adapt("lite_lora", kSmall + "\nprice: 0.05\nselection_share: 0.34", "llama");
  std::vector<std::vector<double>> lite_losses, lora_losses;
  const auto all_losses = [&](const Adapted& adapted) {
    std::vector<double> losses;
    for (const auto& task : tasks) losses.push_back(mean_loss(adapted, task));
    return losses;
  };
  const double untrained = all_losses(lite)[2];
  for (size_t task = 0; task < tasks.size(); ++task) {
    if (task > 0) lite = reloaded(lite), begin_task(lite);  // as --init-adapter does
    learn(lite, tasks[task], 100), lite_losses.push_back(all_losses(lite));
    learn(lora, tasks[task], 100), lora_losses.push_back(all_losses(lora));
  }
  int64_t one_adapter = 0;
  for (const auto* slot : lora.model->places().linears)
    if (slot->name().ends_with("q_proj") || slot->name().ends_with("v_proj")) one_adapter += 4 * (slot->base()->in_features() + slot->base()->out_features());
  EXPECT_EQ(stored_values(lite), 2 * one_adapter + 2);  // two kept of three, and their strengths
  EXPECT_LT(lite_losses[2][2], 0.7 * untrained) << "the third task was not learnt";
  EXPECT_LT(forgetting(lite_losses), forgetting(lora_losses));
  RecordProperty("forgetting_lite_lora", std::to_string(forgetting(lite_losses)));
  RecordProperty("forgetting_lora", std::to_string(forgetting(lora_losses)));
}

TEST(LiteLora, OptionsOfTheSequenceStayAndThoseOfATaskMayChange) {
  const auto adapted = adapt("lite_lora", kSmall, "llama");
  const auto refused = [&](const std::string& options) -> std::string {
    try {
      begin_task(adapted, options);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refused("rank: 8"), AllOf(HasSubstr("method.rank"), HasSubstr("whole sequence")));
  EXPECT_THAT(refused("targets: [k_proj]"), HasSubstr("method.targets"));
  EXPECT_EQ(leaf(adapted, "lite_lora_strengths").numel(), 1);  // nothing was begun
  EXPECT_EQ(refused("rank: 4\nprice: 0.3"), "accepted");
  EXPECT_EQ(adapted.attachment->published_config().at("price"), 0.3);
  EXPECT_EQ(adapted.attachment->published_config().at("tasks"), 2);
  EXPECT_THAT(testing::refusal("lite_lora", "tasks: 2"), HasSubstr("--init-adapter"));
  EXPECT_THAT(testing::refusal("lite_lora", "rank: 33"), HasSubstr("k_proj"));
  EXPECT_THAT(testing::refusal("lite_lora", "price: -1"), HasSubstr("price"));
}

}  // namespace
}  // namespace graft::peft
