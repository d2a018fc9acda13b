#include "peft_core/methods/low_rank/hira.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/peft_core/methods/method_fixture.h"
#include "tests/peft_core/methods/structured/layer_against_weight.h"

namespace graft::peft {
namespace {

using testing::adapt;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Three rows of rank 4 take the way of few rows, 40 the dense one; on NF4, too, W is the expanded weight.
TEST(Hira, TheUpdateIsTheWeightTimesTheLowRankMatrixElementByElement) {
  for (const auto& storage : {testing::kDense, testing::kNf4, testing::kBlocks})
    for (const int64_t rows : {3, 40}) {
      const auto adapted = adapt("hira", "rank: 4", "qwen2", storage);
      adapted.disturb(3);
      const auto weight = [](const at::Tensor& frozen, const testing::ExactLeaves& leaves) {
        return frozen * (1 + at::mm(leaves.at("hira_B"), leaves.at("hira_A")));
      };
      for (const auto* layer : {"model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"})
        testing::expect_layer_of_weight(adapted, layer, weight, rows, 2 * 96);  // sums of up to 96 terms, and of the factors'
    }
}

TEST(Hira, ZeroElementsStayZero) {
  const auto adapted = adapt("hira", "rank: 4\ntargets: [q_proj]");
  adapted.disturb(3);
  auto& slot = *adapted.model->places().linears.front();
  auto holed = slot.base()->weight();
  holed.slice(0, 3, 5).zero_();
  const auto merged = slot.adapter()->merged_weight(*dense_linear(holed));
  EXPECT_EQ(merged.slice(0, 3, 5).abs().max().item<double>(), 0.0);
  EXPECT_FALSE(at::equal(merged, holed));
}

TEST(Hira, StartsAndLimits) {
  const auto a = [](const std::string& options) { return adapt("hira", "targets: [q_proj]\n" + options).trainable().front().second; };
  EXPECT_LE(a("").abs().max().item<double>(), 1.0 / 8);
  // 32 x 64 normal values: the deviation is known to 1 / √4096 of itself, four of which are allowed.
  EXPECT_NEAR(a("init: gaussian").std().item<double>(), 1.0 / 32, 1.0 / 32 / 16);
  EXPECT_THAT(testing::refusal("hira", "rank: 33"), AllOf(HasSubstr("k_proj"), HasSubstr("1..32")));
}

TEST(Hira, ARankPatternOfPeftsFilesIsWithoutEffectAsThere) {
  auto published = adapt("hira", "rank: 5").attachment->published_config();
  published["rank_pattern"] = {{"q_proj", 2}};
  const auto section = find_method("hira").from_published(published);
  ASSERT_TRUE(section.has_value());
  testing::Adapted read{testing::tiny_model("qwen2"), nullptr};
  read.attachment = find_method("hira").attach(read.model->places(), *section, 1);
  for (const auto& [name, tensor] : read.trainable()) EXPECT_EQ(std::min(tensor.size(0), tensor.size(1)), 5) << name;
}

}  // namespace
}  // namespace graft::peft
