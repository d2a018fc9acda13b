#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/low_rank_op.h"
#include "peft_core/slots/quantized_linear.h"
#include "tests/peft_core/methods/low_rank/one_layer.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

// LoRA with another start or another way to learn: orthogonal, loftq, lora_plus, lora_fa.
namespace graft::peft {
namespace {

using testing::adapt;
using testing::OneLayer;
using testing::relative_error;
using ::testing::HasSubstr;

const std::string kQuery = "model.layers.0.self_attn.q_proj";

// ---- orthogonal -------------------------------------------------------------------------------------------------------------------------

TEST(Orthogonal, FactorsAreFullAndTheirProductIsZero) {
  const auto adapted = adapt("orthogonal", "rank: 6");
  for (const auto* slot : adapted.model->places().linears) {
    const auto state = adapted.attachment->state();
    const auto a = state.at(slot->name() + ".lora_A.weight").detach(), b = state.at(slot->name() + ".lora_B.weight").detach();
    EXPECT_LT(at::mm(b, a).norm().item<double>(), 6 * 0x1p-24 * b.norm().item<double>() * a.norm().item<double>()) << slot->name();
    // Entries of X Q₊ are standard normal over half of the r places: E a² = 1/2 / 100.
    EXPECT_NEAR(a.square().mean().item<double>(), 0.005, 0.0015);
    EXPECT_NEAR(b.square().mean().item<double>(), 0.005, 0.0015);
    EXPECT_EQ(at::linalg_matrix_rank(a, 1e-3).item<int64_t>(), 3);
  }
}

TEST(Orthogonal, BothFactorsLearnFromTheFirstStep) {
  const auto adapted = adapt("orthogonal", "rank: 6");
  torch::autograd::backward({adapted.loss(testing::tiny_batch())});
  for (const auto& [name, tensor] : adapted.trainable()) EXPECT_GT(tensor.grad().abs().max().item<double>(), 1e-6) << name;
}

TEST(Orthogonal, AnOddRankIsRefused) { EXPECT_THAT(testing::refusal("orthogonal", "rank: 5"), AllOf(HasSubstr("method.rank"), HasSubstr("even"))); }

// ---- LoRA+ ------------------------------------------------------------------------------------------------------------------------------

TEST(LoraPlus, OnlyBLearnsAtTheHigherRate) {
  const auto adapted = adapt("lora_plus", "learning_rate_ratio: 5");
  for (const auto& group : adapted.attachment->trainable()) EXPECT_EQ(group.learning_rate_factor, group.name == "lora_B" ? 5 : 1);
  EXPECT_THAT(testing::refusal("lora_plus", "learning_rate_ratio: 0"), HasSubstr("learning_rate_ratio"));
}

// ---- LoRA-FA ----------------------------------------------------------------------------------------------------------------------------

TEST(LoraFa, GradientOfBIsProjectedAndAIsNotTrained) {
  for (const bool project : {true, false}) {
    at::manual_seed(3);
    OneLayer layer(at::randn({20, 24}));
    const auto attachment = find_method("lora_fa").attach(
        layer.places, testing::method_section("lora_fa", std::string("rank: 4\nalpha: 12\nproject_gradient: ") + (project ? "true" : "false")), AttachContext(7));
    const auto state = attachment->state();
    const auto a = state.at(std::string(OneLayer::kName) + ".lora_A.weight"), b = state.at(std::string(OneLayer::kName) + ".lora_B.weight");
    EXPECT_FALSE(a.requires_grad());
    a.copy_(at::randn({4, 24}));  // as a file does
    b.detach().normal_();
    const auto x = at::randn({9, 24}).requires_grad_(), g = at::randn({9, 20});
    torch::autograd::backward({layer.slot.forward(x, {})}, {g});
    const auto exact = a.to(at::kDouble), plain = at::mm(g.t().to(at::kDouble), at::mm(x.detach().to(at::kDouble), exact.t())) * 3;
    const auto expected = project ? at::mm(plain, at::linalg_inv(at::mm(exact, exact.t()))) / 9 : plain;
    EXPECT_LT(relative_error(b.grad(), expected), 64 * 0x1p-24) << project;
    const auto weight = layer.slot.base()->weight().to(at::kDouble) + at::mm(b.detach().to(at::kDouble), exact) * 3;
    EXPECT_LT(relative_error(x.grad(), at::mm(g.to(at::kDouble), weight)), 64 * 0x1p-24);
  }
}

TEST(LoraFa, TheInputIsNotKept) {
  const auto base = dense_linear(at::randn({8, 16}));
  const auto b = at::randn({8, 2}).requires_grad_();
  for (const bool trains_a : {true, false}) {
    const auto a = at::randn({2, 16}).requires_grad_(trains_a);
    auto x = at::randn({5, 16});
    const auto memory = x.storage();
    const auto y = low_rank_linear(x, a, b, 1, base, {}, /*dropout=*/0.25, 3);
    x.reset();
    EXPECT_EQ(memory.use_count() > 1, trains_a);
    torch::autograd::backward({y}, {at::ones({5, 8})});  // and is not missed
  }
}

// ---- LoftQ ------------------------------------------------------------------------------------------------------------------------------

double distance(const at::Tensor& a, const at::Tensor& b) { return (a - b).norm().item<double>(); }

TEST(Loftq, StartMakesUpForWhatQuantisingLostAndMoreRoundsForMore) {
  const auto dense = testing::tiny_model("llama");
  std::vector<double> errors;
  for (const auto* options : {"rank: 12\nalpha: 6", "rank: 12\nalpha: 6\niterations: 5"}) {
    const auto adapted = adapt("loftq", options, "llama", testing::kNf4);
    double error = 0, quantising = 0;
    for (size_t i = 0; i < dense->places().linears.size(); ++i) {
      const auto& slot = *adapted.model->places().linears[i];
      const auto weight = dense->places().linears[i]->base()->weight();
      quantising += distance(slot.base()->weight(), weight);
      error += distance(slot.adapter()->merged_weight(*slot.base()), weight);
    }
    errors.push_back(error / quantising);
  }
  EXPECT_LT(errors[0], 0.9);
  EXPECT_LT(errors[1], errors[0]);
}

TEST(Loftq, WithOneRoundItIsTheBestApproximationOfTheResidual) {
  const auto adapted = adapt("loftq", "rank: 4\nalpha: 2\ntargets: [q_proj]", "llama", testing::kNf4);
  const auto dense = testing::tiny_model("llama");
  const auto& slot = *adapted.model->places().linears[0];
  const auto residual = dense->places().linears[0]->base()->weight() - slot.base()->weight();
  const auto state = adapted.attachment->state();
  const auto product = at::mm(state.at(kQuery + ".lora_B.weight"), state.at(kQuery + ".lora_A.weight")).detach() * 0.5;
  const auto values = std::get<1>(at::linalg_svd(residual.to(at::kDouble)));
  EXPECT_NEAR(distance(product, residual), values.narrow(0, 4, 60).norm().item<double>(), 1e-5);
}

TEST(Loftq, ADenseBaseGetsTheNf4OfTheMethod) {
  const auto dense = adapt("loftq", "rank: 4", "llama", testing::kDense), quantised = adapt("loftq", "rank: 4", "llama", testing::kNf4);
  EXPECT_TRUE(at::equal(dense.logits(testing::tiny_batch()), quantised.logits(testing::tiny_batch())));
  EXPECT_EQ(dense.attachment->published_config().at("init_lora_weights"), "loftq");
  EXPECT_EQ(quantised.attachment->published_config().at("init_lora_weights"), true);
}

TEST(Loftq, RefusesOtherBitsAndWeightsThatWereQuantisedInTheirFile) {
  EXPECT_THAT(testing::refusal("loftq", "bits: 8"), AllOf(HasSubstr("method.bits"), HasSubstr("4")));
  try {
    adapt("loftq", "", "llama", testing::kBlocks);
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), HasSubstr("before it was quantised"));
  }
}

}  // namespace
}  // namespace graft::peft
