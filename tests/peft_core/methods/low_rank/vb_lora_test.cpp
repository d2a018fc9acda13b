#include "peft_core/methods/low_rank/vb_lora.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::relative_error;
using ::testing::HasSubstr;

const std::string kBank = "base_model.vblora_vector_bank", kUp = "model.layers.0.mlp.up_proj";

/// Piece by piece in float64: the k largest logits, their softmax, the sum of those vectors.
at::Tensor mixed(const at::Tensor& logits, const at::Tensor& bank, int64_t topk) {
  const auto [values, indices] = logits.topk(topk, -1);
  const auto weights = at::softmax(values, -1);
  std::vector<at::Tensor> pieces;
  for (int64_t i = 0; i < logits.size(0); ++i)
    for (int64_t j = 0; j < logits.size(1); ++j) {
      auto sum = at::zeros({bank.size(1)}, bank.options().requires_grad(false));
      for (int64_t k = 0; k < topk; ++k)
        sum = sum + bank.select(0, indices.select(0, i).select(0, j)[k].item<int64_t>()) * weights.select(0, i).select(0, j).select(0, k);
      pieces.push_back(sum);
    }
  return at::stack(pieces).view({logits.size(0), logits.size(1), -1});
}

TEST(VbLora, OutputAndGradientsAreThoseOfTheMixedVectors) {
  const auto adapted = adapt("vb_lora", "rank: 3\nnum_vectors: 11\nvector_length: 16\ntopk: 3");
  adapted.disturb(3);
  const auto state = adapted.attachment->state();
  const auto leaf = [&](const std::string& name) { return state.at(name).detach().to(at::kDouble).requires_grad_(); };
  const auto logits_a = leaf(kUp + ".vblora_logits_A"), logits_b = leaf(kUp + ".vblora_logits_B"), bank = leaf(kBank);
  ASSERT_EQ(logits_a.sizes(), at::IntArrayRef({3, 4, 11}));
  ASSERT_EQ(logits_b.sizes(), at::IntArrayRef({6, 3, 11}));
  const auto a = mixed(logits_a, bank, 3).view({3, 64});
  const auto b = mixed(logits_b, bank, 3).transpose(1, 2).reshape({96, 3});
  const auto& slot = testing::slot_of(adapted, kUp);
  at::manual_seed(1);
  const auto x = at::randn({9, 64}), g = at::randn({9, 96});
  const auto expected = at::mm(x.to(at::kDouble), (slot.base()->weight().to(at::kDouble) + at::mm(b, a)).t());
  torch::autograd::backward({expected}, {g.to(at::kDouble)});
  const auto y = slot.forward(x, {});
  torch::autograd::backward({y}, {g});
  constexpr double kTolerance = 2 * 96 * 0x1p-24;  // sums of up to 96 terms, twice
  EXPECT_LT(relative_error(y, expected), kTolerance);
  EXPECT_LT(relative_error(state.at(kUp + ".vblora_logits_A").grad(), logits_a.grad()), kTolerance);
  EXPECT_LT(relative_error(state.at(kUp + ".vblora_logits_B").grad(), logits_b.grad()), kTolerance);
  EXPECT_LT(relative_error(state.at(kBank).grad(), bank.grad()), kTolerance);
}

TEST(VbLora, TheLengthIsTheLargestDivisorOfAllSides) {
  const auto length = [](const char* options) { return adapt("vb_lora", options).attachment->published_config().at("vector_length"); };
  EXPECT_EQ(length(""), 32);                        // of 64, 32 and 96
  EXPECT_EQ(length("targets: [q_proj]"), 64);
  EXPECT_EQ(length("vector_length: 8"), 8);
  EXPECT_THAT(testing::refusal("vb_lora", "vector_length: 64"), AllOf(HasSubstr("vector_length"), HasSubstr("k_proj")));
  EXPECT_THAT(testing::refusal("vb_lora", "vector_length: -1"), HasSubstr("vector_length"));
}

TEST(VbLora, TheBankIsTrainedOnce) {
  int64_t banks = 0;
  for (const auto& [name, tensor] : adapt("vb_lora").trainable()) banks += name == kBank;
  EXPECT_EQ(banks, 1);
}

/// What a file with only the chosen weights gives when it is read.
testing::Adapted read_back(const testing::Adapted& first) {
  const auto section = find_method("vb_lora").from_published(first.attachment->published_config());
  testing::Adapted second{testing::tiny_model("qwen2"), nullptr};
  second.attachment = find_method("vb_lora").attach(second.model->places(), *section, AttachContext(0, nullptr, /*from_file=*/true));
  AdapterState saved;
  for (const auto& [name, tensor] : first.attachment->saved_state()) saved[name] = tensor.detach().clone();
  load_state(*second.attachment, saved, "adapter");
  return second;
}

TEST(VbLora, AFileOfTheChosenWeightsGivesTheSameOutputs) {
  const auto batch = testing::tiny_batch();
  for (const auto* vectors : {"num_vectors: 24", "num_vectors: 300"}) {
    const auto first = adapt("vb_lora", std::string("save_only_topk_weights: true\ntopk: 3\n") + vectors);
    first.disturb(3);
    const auto second = read_back(first);
    // The last weight comes back as 1 minus the others: an error of three units of it.
    EXPECT_LT(relative_error(second.logits(batch), first.logits(batch).to(at::kDouble)), 15 * 16 * 0x1p-24);
    const auto saved = first.attachment->saved_state(), again = second.attachment->saved_state();
    EXPECT_EQ(saved.at(kUp + ".vblora_logits_A_topk_indices").scalar_type(), std::string(vectors) == "num_vectors: 24" ? at::kByte : at::kShort);
    for (const auto& [name, tensor] : saved) EXPECT_TRUE(at::equal(again.at(name), tensor)) << name;
    EXPECT_FALSE(saved.contains(kUp + ".vblora_logits_A"));
  }
}

TEST(VbLora, AFileOfTheChosenWeightsCannotBeTrainedOn) {
  const auto second = read_back(adapt("vb_lora", "save_only_topk_weights: true"));
  EXPECT_THROW(second.loss(testing::tiny_batch(), /*training=*/true), InvalidArgument);
  EXPECT_NO_THROW(second.logits(testing::tiny_batch()));
}

TEST(VbLora, LimitsAreChecked) {
  EXPECT_THAT(testing::refusal("vb_lora", "rank: 0"), HasSubstr("method.rank"));
  EXPECT_THAT(testing::refusal("vb_lora", "topk: 300"), HasSubstr("method.topk"));
  EXPECT_THAT(testing::refusal("vb_lora", "topk: 0"), HasSubstr("method.topk"));
}

}  // namespace
}  // namespace graft::peft
