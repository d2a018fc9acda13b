#include "peft_core/methods/low_rank/output_lora.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "tests/peft_core/methods/structured/layer_against_weight.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::expect_layer_of_weight;
using ::testing::HasSubstr;

const std::string kQuery = "model.layers.0.self_attn.q_proj";  // 64 by 64, with a bias
const std::string kOut = "model.layers.1.self_attn.o_proj";    // 64 by 64
const std::string kDown = "model.layers.1.mlp.down_proj";      // 64 by 96

TEST(OutputLora, ActsBehindTheNamedLayersAndBesideTheOthers) {
  const auto adapted = adapt("output_lora", "rank: 4\nalpha: 6\nafter: [o_proj, down_proj]");
  adapted.disturb(3);
  const auto behind = [](const auto& w, const auto& leaves) { return w + 1.5 * at::mm(leaves.at("lora_B.weight"), at::mm(leaves.at("lora_A.weight"), w)); };
  const auto beside = [](const auto& w, const auto& leaves) { return w + 1.5 * at::mm(leaves.at("lora_B.weight"), leaves.at("lora_A.weight")); };
  for (const int64_t rows : {1, 7, 65}) {
    expect_layer_of_weight(adapted, kOut, behind, rows, 4 * 96);
    expect_layer_of_weight(adapted, kDown, behind, rows, 4 * 96);
    expect_layer_of_weight(adapted, kQuery, beside, rows, 4 * 96);
  }
}

/// The released merge adds s B A to W and leaves the bias: both are wrong for a layer that has one.
TEST(OutputLora, MergesTheBiasToo) {
  const auto adapted = adapt("output_lora", "rank: 4\nalpha: 4\nafter: [q_proj]\ntargets: [q_proj]");
  adapted.disturb(3);
  const auto& slot = slot_of(adapted, kQuery);
  const auto x = at::randn({5, 64}), before = slot.forward(x, {});
  const auto weight = slot.adapter()->merged_weight(*slot.base()), bias = slot.adapter()->merged_bias(slot.bias());
  EXPECT_LT((at::linear(x, weight, bias) - before).abs().max().item<double>(), 1e-4);
  EXPECT_GT((at::linear(x, weight, slot.bias()) - before).abs().max().item<double>(), 1e-3);
}

TEST(OutputLora, WrongOptionsAreRefused) {
  EXPECT_THAT(testing::refusal("output_lora", "rank: 65"), HasSubstr("method.rank"));
  EXPECT_THAT(testing::refusal("output_lora", "dropout: 1"), HasSubstr("method.dropout"));
}

}  // namespace
}  // namespace graft::peft
