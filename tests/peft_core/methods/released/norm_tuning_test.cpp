#include "peft_core/methods/released/norm_tuning.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/peft_core/methods/method_fixture.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::Adapted;
using testing::refusal;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> names(const Adapted& adapted) {
  std::vector<std::string> all;
  for (const auto& [name, tensor] : adapted.trainable()) all.push_back(name);
  return all;
}

TEST(NormTuning, TrainsEveryNormalisationWeight) {
  EXPECT_THAT(names(adapt("norm_tuning")),
              ElementsAre("model.layers.0.input_layernorm.weight", "model.layers.0.post_attention_layernorm.weight",
                          "model.layers.1.input_layernorm.weight", "model.layers.1.post_attention_layernorm.weight", "model.norm.weight"));
  const auto qwen3 = names(adapt("norm_tuning", "", "qwen3"));
  EXPECT_EQ(qwen3.size(), 9u);
  EXPECT_THAT(qwen3, Contains("model.layers.1.self_attn.k_norm.weight"));
}

TEST(NormTuning, TargetsChooseNormsByTheEndOfTheName) {
  EXPECT_THAT(names(adapt("norm_tuning", "targets: [input_layernorm]")),
              ElementsAre("model.layers.0.input_layernorm.weight", "model.layers.1.input_layernorm.weight"));
  EXPECT_THAT(names(adapt("norm_tuning", "targets: [model.norm]")), ElementsAre("model.norm.weight"));
  EXPECT_THAT(names(adapt("norm_tuning", "targets: [1.input_layernorm.weight]")), ElementsAre("model.layers.1.input_layernorm.weight"));
  EXPECT_THAT(refusal("norm_tuning", "targets: [q_proj]"), HasSubstr("norm"));
}

TEST(NormTuning, IsSavedUnderPeftsNames) {
  const auto adapted = adapt("norm_tuning", "targets: [input_layernorm]");
  std::vector<std::string> saved;
  for (const auto& [name, tensor] : adapted.attachment->state()) saved.push_back(name);
  EXPECT_THAT(saved, ElementsAre("model.layers.0.input_layernorm.ln_tuning_layers.weight",
                                 "model.layers.1.input_layernorm.ln_tuning_layers.weight"));
  const auto published = adapted.attachment->published_config();
  EXPECT_EQ(published.at("peft_type"), "LN_TUNING");
  EXPECT_THAT(published.at("target_modules").get<std::vector<std::string>>(),
              ElementsAre("model.layers.0.input_layernorm", "model.layers.1.input_layernorm"));
}

TEST(NormTuning, AChosenFewAreReadBackAsSaved) {
  for (const auto* targets : {"[input_layernorm]", "[1.post_attention_layernorm, model.norm]"}) {
    const auto first = adapt("norm_tuning", std::string("targets: ") + targets);
    const auto section = find_method("norm_tuning").from_published(first.attachment->published_config());
    ASSERT_TRUE(section.has_value());
    Adapted second{testing::tiny_model("qwen2"), nullptr};
    second.attachment = find_method("norm_tuning").attach(second.model->places(), *section, 1);
    EXPECT_EQ(names(second), names(first)) << targets;
  }
}

TEST(NormTuning, TrainsTheFinalNormWithoutAGradientBelowIt) {
  const auto batch = testing::tiny_batch();
  const auto adapted = adapt("norm_tuning", "targets: [model.norm]");
  const double before = adapted.exact_loss(batch);
  adapted.train(batch, 3);
  EXPECT_LT(adapted.exact_loss(batch), before);
}

}  // namespace
}  // namespace graft::peft
