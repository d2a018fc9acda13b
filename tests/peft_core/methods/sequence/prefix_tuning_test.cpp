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
using testing::refusal;
using ::testing::HasSubstr;

TEST(PrefixTuning, TheTableHoldsKeysThenValuesLayerByLayer) {
  const auto adapted = adapt("prefix_tuning", "num_virtual_tokens: 3", "qwen3");
  const auto table = adapted.attachment->state().at("prompt_embeddings");
  const int64_t heads = 2, size = 24, part = heads * size;
  ASSERT_EQ(table.sizes(), (std::vector<int64_t>{3, 2 * 2 * part}));
  const auto& prefixes = adapted.model->places().prefixes;
  for (int64_t layer = 0; layer < 2; ++layer) {
    const auto& slot = *prefixes[static_cast<size_t>(layer)];
    EXPECT_TRUE(at::equal(slot.keys, table.narrow(1, 2 * layer * part, part).view({3, heads, size})));
    EXPECT_TRUE(at::equal(slot.values, table.narrow(1, (2 * layer + 1) * part, part).view({3, heads, size})));
  }
}

TEST(PrefixTuning, AnsweringWithACacheSeesThePrefix) {
  for (const auto* kind : {"qwen2", "mistral"}) {  // mistral: a window of 5 keys, beyond which the prefix is out of sight
    const auto adapted = adapt("prefix_tuning", "num_virtual_tokens: 3", kind);
    const std::vector<int32_t> ids{8, 3, 77, 4, 60, 12, 9};
    at::NoGradGuard no_gradient;
    const auto expected = adapted.model->hidden_states(TokenStream::of(ids, std::vector<int32_t>{7}), {});
    auto cache = adapted.model->cache_for(7);
    SequenceCache* const caches[] = {&cache};
    std::vector<at::Tensor> steps;
    for (const auto id : ids) steps.push_back(adapted.model->extend(TokenStream::of(std::vector<int32_t>{id}, std::vector<int32_t>{1}), caches));
    EXPECT_LT(testing::relative_error(at::cat(steps), expected.to(at::kDouble)), 1e-5) << kind;  // fp32 sums of another order in two layers
  }
}

TEST(PrefixTuning, ItsGradientArrivesThoughItWasAttachedWithoutOne) {
  auto model = testing::tiny_model("qwen2");
  testing::Adapted adapted{std::move(model), nullptr};
  {
    at::NoGradGuard no_gradient;
    adapted.attachment = find_method("prefix_tuning").attach(adapted.model->places(), testing::method_section("prefix_tuning", ""), 7);
  }
  const auto before = adapted.attachment->state().at("prompt_embeddings").detach().clone();
  adapted.train(testing::tiny_batch(), 1);
  EXPECT_FALSE(at::equal(adapted.attachment->state().at("prompt_embeddings"), before));
}

TEST(PrefixTuning, AZeroStartTakesAShareOfTheAttentionOnly) {
  const auto adapted = adapt("prefix_tuning", "init: zero");
  EXPECT_EQ(adapted.attachment->state().at("prompt_embeddings").count_nonzero().item<int64_t>(), 0);
  EXPECT_EQ(adapted.attachment->published_config().at("init_weights"), "zero");
  adapted.train(testing::tiny_batch(), 1);
  EXPECT_GT(adapted.attachment->state().at("prompt_embeddings").count_nonzero().item<int64_t>(), 0);
}

TEST(PrefixTuning, AProjectedFileIsReadAsWhatItsProjectionGave) {
  const auto section = find_method("prefix_tuning").from_published({{"peft_type", "PREFIX_TUNING"}, {"num_virtual_tokens", 4}, {"prefix_projection", true}});
  ASSERT_TRUE(section.has_value());
  EXPECT_EQ(section->find("num_virtual_tokens")->scalar, "4");
}

TEST(PrefixTuning, WrongOptionsAreRefused) {
  EXPECT_THAT(refusal("prefix_tuning", "num_virtual_tokens: 0"), HasSubstr("method.num_virtual_tokens"));
  EXPECT_THAT(refusal("prefix_tuning", "init: ones"), HasSubstr("zero"));
  const auto adapted = adapt("prefix_tuning");
  EXPECT_THROW(find_method("prefix_tuning").attach(adapted.model->places(), testing::method_section("prefix_tuning", ""), 1), InvalidArgument);
}

}  // namespace
}  // namespace graft::peft
