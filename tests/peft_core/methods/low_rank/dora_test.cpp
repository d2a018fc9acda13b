#include "peft_core/methods/low_rank/dora.h"

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

const std::string kQuery = "model.layers.0.self_attn.q_proj";

TEST(Dora, OutputAndGradientsAreThoseOfThePapersFormula) {
  const auto adapted = adapt("dora", "rank: 4\nalpha: 8\ntargets: [q_proj]");
  adapted.disturb(3);
  const auto& slot = slot_of(adapted, kQuery);  // with a bias
  const auto state = adapted.attachment->state();
  const auto leaf = [&](const std::string& name) { return state.at(kQuery + "." + name).detach().to(at::kDouble).requires_grad_(); };
  const auto a = leaf("lora_A.weight"), b = leaf("lora_B.weight"), m = leaf("lora_magnitude_vector");
  at::manual_seed(1);
  const auto x = at::randn({9, 64}).requires_grad_(), g = at::randn({9, 64});
  const auto exact_x = x.detach().to(at::kDouble).requires_grad_();
  const auto updated = slot.base()->weight().to(at::kDouble) + at::mm(b, a) * 2;
  const auto norm = updated.detach().norm(2, {1});  // a constant for the gradient
  const auto expected = at::mm(exact_x, (updated * (m / norm).unsqueeze(1)).t()) + slot.bias().to(at::kDouble);
  torch::autograd::backward({expected}, {g.to(at::kDouble)});

  const auto y = slot.forward(x, {});
  torch::autograd::backward({y}, {g});
  // Sums of 64 terms in fp32, two of them for the lengths, and a handful of roundings.
  constexpr double kTolerance = 64 * 0x1p-24;
  EXPECT_LT(relative_error(y, expected), kTolerance);
  EXPECT_LT(relative_error(x.grad(), exact_x.grad()), kTolerance);
  for (const auto& [name, right] : {std::pair<std::string, at::Tensor>{"lora_A.weight", a}, {"lora_B.weight", b}, {"lora_magnitude_vector", m}})
    EXPECT_LT(relative_error(state.at(kQuery + "." + name).grad(), right.grad()), kTolerance) << name;
}

TEST(Dora, MagnitudesStartAsTheLengthsOfTheRows) {
  for (const auto& storage : {testing::kDense, testing::kNf4}) {
    const auto adapted = adapt("dora", "rank: 4", "llama", storage);
    const auto& slot = slot_of(adapted, "model.layers.1.mlp.down_proj");
    const auto magnitude = adapted.attachment->state().at(slot.name() + ".lora_magnitude_vector");
    EXPECT_LT(relative_error(magnitude, slot.base()->weight().to(at::kDouble).norm(2, {1})), 1e-6);
  }
}

TEST(Dora, FilesSayThatTheyAreDora) {
  const auto adapted = adapt("dora", "rank: 4");
  const auto published = adapted.attachment->published_config();
  EXPECT_EQ(published.at("use_dora"), true);
  EXPECT_FALSE(find_method("lora").from_published(published).has_value());
  EXPECT_TRUE(find_method("dora").from_published(published).has_value());
}

}  // namespace
}  // namespace graft::peft
