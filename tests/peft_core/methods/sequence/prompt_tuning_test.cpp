#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::Adapted;
using testing::refusal;
using ::testing::HasSubstr;

at::Tensor tokens_of(const Adapted& adapted) { return adapted.model->places().prompt->tokens().detach(); }

TEST(PromptTuning, APromptOfTokenVectorsIsThoseTokens) {
  const auto adapted = adapt("prompt_tuning", "num_virtual_tokens: 3", "llama");
  const std::vector<int32_t> head{5, 90, 17}, ids{8, 3, 77, 4, 60};
  at::NoGradGuard no_gradient;
  tokens_of(adapted).copy_(adapted.model->embedding()->gather(at::tensor({5, 90, 17}, at::kLong), at::kFloat));
  const auto prompted = adapted.model->hidden_states(TokenStream::of(ids, std::vector<int32_t>{5}), {});
  adapted.attachment->detach();
  auto whole = head;
  whole.insert(whole.end(), ids.begin(), ids.end());
  const auto expected = adapted.model->hidden_states(TokenStream::of(whole, std::vector<int32_t>{8}), {}).narrow(0, 3, 5);
  EXPECT_TRUE(at::equal(prompted, expected));  // the same rows through the same products
}

TEST(PromptTuning, AnsweringWithACacheSeesThePrompt) {
  const auto adapted = adapt("prompt_tuning", "num_virtual_tokens: 3");
  const std::vector<int32_t> ids{8, 3, 77, 4, 60};
  at::NoGradGuard no_gradient;
  const auto expected = adapted.model->hidden_states(TokenStream::of(ids, std::vector<int32_t>{5}), {});
  auto cache = adapted.model->cache_for(5);
  SequenceCache* const caches[] = {&cache};
  std::vector<at::Tensor> steps;
  for (const auto id : ids) steps.push_back(adapted.model->extend(TokenStream::of(std::vector<int32_t>{id}, std::vector<int32_t>{1}), caches));
  EXPECT_LT(testing::relative_error(at::cat(steps), expected.to(at::kDouble)), 1e-5);  // fp32 sums of another order in two layers
}

TEST(PromptTuning, RandomStartIsGaussianAndFollowsTheSeed) {
  const auto start = tokens_of(adapt("prompt_tuning", "num_virtual_tokens: 500"));
  EXPECT_EQ(start.sizes(), (std::vector<int64_t>{500, 64}));
  // 32,000 draws: the mean is good to 1 / √32000 = 0.0056, the deviation to 0.004; five times that.
  EXPECT_NEAR(start.mean().item<double>(), 0, 0.028);
  EXPECT_NEAR(start.std().item<double>(), 1, 0.02);
  EXPECT_FALSE(at::equal(start, tokens_of(adapt("prompt_tuning", "num_virtual_tokens: 500", "qwen2", testing::kDense, /*seed=*/8))));
}

TEST(PromptTuning, SampledStartIsRowsOfTheEmbedding) {
  const auto adapted = adapt("prompt_tuning", "num_virtual_tokens: 40\ninit: sample_vocab");
  const auto table = adapted.model->embedding()->weight();
  std::set<int64_t> chosen;
  for (int64_t i = 0; i < 40; ++i) {
    const auto same = table.eq(tokens_of(adapted)[i]).all(1).nonzero();
    ASSERT_EQ(same.numel(), 1) << i;
    chosen.insert(same.item<int64_t>());
  }
  EXPECT_GT(chosen.size(), 20u);  // of 131; 34 distinct ones are expected
}

TEST(PromptTuning, TextStartRepeatsTheTextsTokens) {
  auto model = testing::tiny_model("qwen2");
  AttachContext context(7);
  std::string asked;
  context.token_ids = [&](const std::string& text) -> std::vector<int64_t> { return asked = text, std::vector<int64_t>{9, 4, 30}; };
  for (const int64_t count : {2, 7}) {
    const auto section = testing::method_section("prompt_tuning", "init: text\ninit_text: Advise the farmer.\nnum_virtual_tokens: " + std::to_string(count));
    const auto attachment = find_method("prompt_tuning").attach(model->places(), section, context);
    const auto ids = at::tensor({9, 4, 30, 9, 4, 30, 9}, at::kLong).narrow(0, 0, count);
    EXPECT_TRUE(at::equal(model->places().prompt->tokens(), model->embedding()->gather(ids, at::kFloat)));
    attachment->detach();
  }
  EXPECT_EQ(asked, "Advise the farmer.");
}

TEST(PromptTuning, WrongOptionsAreRefused) {
  EXPECT_THAT(refusal("prompt_tuning", "num_virtual_tokens: 0"), HasSubstr("method.num_virtual_tokens"));
  EXPECT_THAT(refusal("prompt_tuning", "init: text"), HasSubstr("method.init_text"));
  EXPECT_THAT(refusal("prompt_tuning", "init: text\ninit_text: a"), HasSubstr("tokenizer"));  // the fixture has none
  EXPECT_THAT(refusal("prompt_tuning", "init: SAMPLE"), HasSubstr("sample_vocab"));
  const auto adapted = adapt("prompt_tuning");
  EXPECT_THROW(find_method("prompt_tuning").attach(adapted.model->places(), testing::method_section("prompt_tuning", ""), 1), InvalidArgument);
}

TEST(PromptTuning, FilesArePefts) {
  const auto adapted = adapt("prompt_tuning", "num_virtual_tokens: 3\ninit: sample_vocab");
  const auto state = adapted.attachment->state();
  ASSERT_EQ(state.size(), 1u);
  EXPECT_EQ(state.at("prompt_embeddings").sizes(), (std::vector<int64_t>{3, 64}));
  const auto config = adapted.attachment->published_config();
  EXPECT_EQ(config.at("peft_type"), "PROMPT_TUNING");
  EXPECT_EQ(config.at("prompt_tuning_init"), "SAMPLE_VOCAB");
  EXPECT_FALSE(find_method("prompt_tuning").published.named_by_layer);
}

}  // namespace
}  // namespace graft::peft
