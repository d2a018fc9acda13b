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
using testing::Adapted;
using testing::refusal;
using testing::tiny_batch;
using ::testing::HasSubstr;

constexpr const char* kThree = "token_indices: [3, 40, 130]";

/// The model whose embedding (and head, where it is tied) holds the trained rows.
Adapted with_rows_in_the_table(const std::string& kind, const at::Tensor& rows) {
  const auto config = testing::tiny_config(kind);
  testing::TinyWeights weights(config, 1);
  weights.tensors().at("model.embed_tokens.weight").index_copy_(0, at::tensor({3, 40, 130}, at::kLong), rows);
  return {std::make_unique<CausalLm>(config, weights, testing::kDense), nullptr};
}

at::Tensor rows_of(const Adapted& adapted) { return adapted.attachment->state().at("model.embed_tokens.trainable_tokens_delta").detach(); }

TEST(TrainableTokens, IsTheModelWithThoseRowsInItsTable) {
  const auto batch = tiny_batch();  // token 3 is its first
  for (const auto* kind : {"qwen2", "llama"}) {  // llama: the head is tied and follows
    const auto adapted = adapt("trainable_tokens", kThree, kind);
    adapted.disturb(3);
    const auto expected = with_rows_in_the_table(kind, rows_of(adapted)).logits(batch);
    // 64 terms of about 1 a logit, the changed ones summed in two parts: 64 roundings of 2^-24 at most.
    EXPECT_LT(testing::relative_error(adapted.logits(batch), expected.to(at::kDouble)), 64 * 0x1p-24) << kind;
  }
}

TEST(TrainableTokens, GradientsOfATiedHeadAreTheSlopes) {
  const auto adapted = adapt("trainable_tokens", kThree, "llama");
  auto batch = tiny_batch();
  adapted.disturb(3);
  torch::autograd::backward({adapted.loss(batch)});
  const auto rows = adapted.trainable().front().second;
  const double length = rows.grad().norm().item<double>();
  // See expect_gradients_of_slope in the conformance suite.
  EXPECT_NEAR(testing::slope_along_gradient([&] { return adapted.exact_loss(batch); }, rows, rows.grad().clone(), 0.02), 1.0, 1e-3 + 5e-4 / length);
  for (int64_t i = 0; i < 3; ++i) EXPECT_GT(rows.grad()[i].abs().max().item<double>(), 0) << "row " << i << ", which the head gives a gradient even unread";
}

TEST(TrainableTokens, AttachingToATiedHeadChangesNoBitAndMergingKeepsItTied) {
  const auto batch = tiny_batch();
  for (const auto& storage : {testing::kDense, testing::kDenseBf16, testing::kBlocks}) {
    const auto adapted = adapt("trainable_tokens", kThree, "llama", storage);
    EXPECT_TRUE(at::equal(adapted.logits(batch), Adapted(testing::tiny_model("llama", storage), nullptr).logits(batch)));
  }
  const auto adapted = adapt("trainable_tokens", kThree, "llama");
  adapted.disturb(3);
  const auto before = adapted.logits(batch);
  adapted.attachment->merge(at::kFloat);
  EXPECT_EQ(adapted.model->places().head->base(), adapted.model->embedding());
  EXPECT_LT(testing::relative_error(adapted.logits(batch), before.to(at::kDouble)), 64 * 0x1p-24);
}

TEST(TrainableTokens, FilesNameATiedHeadToo) {
  const auto tied = adapt("trainable_tokens", kThree, "llama").attachment->state(), untied = adapt("trainable_tokens", kThree).attachment->state();
  EXPECT_EQ(untied.size(), 1u);
  ASSERT_EQ(tied.size(), 2u);
  EXPECT_EQ(tied.at("lm_head.trainable_tokens_delta").data_ptr(), tied.at("model.embed_tokens.trainable_tokens_delta").data_ptr());
}

TEST(TrainableTokens, ABatchWithoutThemTrainsWithoutComplaint) {
  const auto adapted = adapt("trainable_tokens", "token_indices: [1]");
  adapted.train(tiny_batch({3}, 3), 1);  // tokens 3, 41 and 81
  EXPECT_EQ(adapted.trainable().front().second.grad().abs().max().item<double>(), 0);
}

TEST(TrainableTokens, StartsFromNoiseIfAsked) {
  const auto adapted = adapt("trainable_tokens", "init_weights: false");
  // 131 · 64 draws: the deviation is good to 0.008; the table's own is 0.3.
  EXPECT_NEAR(rows_of(adapted).std().item<double>(), 1, 0.04);
  EXPECT_EQ(adapted.attachment->published_config().at("init_weights"), false);
}

TEST(TrainableTokens, WrongOptionsAreRefused) {
  EXPECT_THAT(refusal("trainable_tokens", "token_indices: [131]"), HasSubstr("0..130"));
  EXPECT_THAT(refusal("trainable_tokens", "token_indices: [-1]"), HasSubstr("0..130"));
  EXPECT_THAT(refusal("trainable_tokens", "token_indices: [4, 9, 4]"), HasSubstr("token 4 twice"));
  const auto& method = find_method("trainable_tokens");
  for (const auto* kind : {"qwen2", "llama"}) {
    const auto adapted = adapt("trainable_tokens", kThree, kind);
    EXPECT_THROW(method.attach(adapted.model->places(), testing::method_section("trainable_tokens", kThree), 1), InvalidArgument) << kind;
  }
  const nlohmann::json head = {{"peft_type", "TRAINABLE_TOKENS"}, {"token_indices", {1}}, {"target_modules", {"lm_head"}}};
  EXPECT_THROW(method.from_published(head), InvalidArgument);
  EXPECT_TRUE(method.from_published({{"peft_type", "TRAINABLE_TOKENS"}, {"token_indices", {1}}, {"target_modules", nullptr}}).has_value());
}

}  // namespace
}  // namespace graft::peft
