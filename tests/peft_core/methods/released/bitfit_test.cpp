#include "peft_core/methods/released/bitfit.h"

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
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> names(const Adapted& adapted) {
  std::vector<std::string> all;
  for (const auto& [name, tensor] : adapted.trainable()) all.push_back(name);
  return all;
}

TEST(Bitfit, TrainsEveryBiasAndNothingElse) {
  const auto adapted = adapt("bitfit");
  EXPECT_THAT(names(adapted),
              ElementsAre("model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.k_proj.bias",
                          "model.layers.0.self_attn.v_proj.bias", "model.layers.1.self_attn.q_proj.bias",
                          "model.layers.1.self_attn.k_proj.bias", "model.layers.1.self_attn.v_proj.bias"));
  const auto groups = adapted.attachment->trainable();
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].name, "biases");
}

TEST(Bitfit, TargetsChooseBiasesByTheEndOfTheName) {
  EXPECT_THAT(names(adapt("bitfit", "targets: [v_proj]")),
              ElementsAre("model.layers.0.self_attn.v_proj.bias", "model.layers.1.self_attn.v_proj.bias"));
  EXPECT_THAT(names(adapt("bitfit", "targets: ['0.self_attn.(q|k)_proj']")),
              ElementsAre("model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.k_proj.bias"));
}

TEST(Bitfit, AModelWithoutBiasesIsRefusedInWords) {
  for (const auto* kind : {"llama", "qwen3", "mistral"})
    EXPECT_THAT(refusal("bitfit", "", kind), AllOf(HasSubstr("bias"), HasSubstr("lora"))) << kind;
  EXPECT_THAT(refusal("bitfit", "targets: [o_proj]"), HasSubstr("bias"));  // a layer, but one without a bias
}

TEST(Bitfit, IsPublishedAsALoraFileWithSavedBiases) {
  const auto published = adapt("bitfit").attachment->published_config();
  EXPECT_EQ(published.at("peft_type"), "LORA");
  EXPECT_EQ(published.at("bias"), "all");
  const auto plain = nlohmann::json::parse(R"({"peft_type": "LORA", "target_modules": ["q_proj"], "bias": "none"})");
  EXPECT_FALSE(find_method("bitfit").from_published(plain).has_value());
}

TEST(Bitfit, SomeBiasesAreReadBackAsSavedToo) {
  const auto batch = testing::tiny_batch();
  const auto first = adapt("bitfit", "targets: [v_proj]");
  first.disturb(3);
  const auto section = find_method("bitfit").from_published(first.attachment->published_config());
  ASSERT_TRUE(section.has_value());
  Adapted second{testing::tiny_model("qwen2"), nullptr};
  second.attachment = find_method("bitfit").attach(second.model->places(), *section, 1);
  load_state(*second.attachment, first.attachment->state(), "adapter");
  EXPECT_TRUE(at::equal(second.logits(batch), first.logits(batch)));
}

}  // namespace
}  // namespace graft::peft
