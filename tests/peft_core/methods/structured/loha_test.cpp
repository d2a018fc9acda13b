#include "peft_core/methods/structured/loha.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/peft_core/methods/structured/layer_against_weight.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::expect_layer_of_weight;
using ::testing::HasSubstr;

const std::string kQuery = "model.layers.0.self_attn.q_proj";  // 64 by 64, with a bias
const std::string kDown = "model.layers.1.mlp.down_proj";      // 64 by 96

at::Tensor hadamard(const at::Tensor& w, const testing::ExactLeaves& leaves, double scale) {
  return w + scale * at::mm(leaves.at("hada_w1_a"), leaves.at("hada_w1_b")) * at::mm(leaves.at("hada_w2_a"), leaves.at("hada_w2_b"));
}

// Rank 3 is multiplied as 9 thin columns; rank 9, with 81 (64 + 64) > 64 · 64, from a dense update. Sums of 96 terms at most, two in a row.
TEST(Loha, OutputAndGradientsAreThoseOfTheHadamardProductBothWays) {
  for (const int64_t rank : {1, 3, 9}) {
    const auto adapted = adapt("loha", "rank: " + std::to_string(rank) + "\nalpha: 6");
    adapted.disturb(3);
    for (const auto& layer : {kQuery, kDown})
      for (const int64_t rows : {1, 7, 300})
        expect_layer_of_weight(
            adapted, layer, [&](const auto& w, const auto& leaves) { return hadamard(w, leaves, 6.0 / static_cast<double>(rank)); }, rows, 2 * 96);
  }
}

TEST(Loha, PatternsChangeRankAndAlphaOfSingleLayers) {
  const auto adapted = adapt("loha", "rank: 4\nalpha: 4\nrank_pattern: {q_proj: 2}\nalpha_pattern: {q_proj: 10}");
  adapted.disturb(3);
  EXPECT_EQ(adapted.attachment->state().at(kQuery + ".hada_w1_a").sizes(), (std::vector<int64_t>{64, 2}));
  EXPECT_EQ(adapted.attachment->state().at(kDown + ".hada_w1_a").sizes(), (std::vector<int64_t>{64, 4}));
  expect_layer_of_weight(adapted, kQuery, [](const auto& w, const auto& leaves) { return hadamard(w, leaves, 5.0); }, 7, 2 * 96);
  EXPECT_THAT(testing::refusal("loha", "rank_pattern: {no_such: 2}"), HasSubstr("no_such"));
}

/// The update of one layer alone while training, row by row of x.
at::Tensor update_in_training(const testing::Adapted& adapted, const at::Tensor& x, uint64_t seed) {
  const auto& slot = testing::slot_of(adapted, kQuery);
  at::NoGradGuard no_gradient;
  return slot.forward(x, {.training = true, .dropout_seed = seed}) - frozen_linear(x, slot.base(), slot.bias());
}

TEST(Loha, RankDropoutDropsOutputsAndKeepsTheMeanSize) {
  for (const auto* rank : {"3", "9"}) {  // thin and dense
    const auto adapted = adapt("loha", std::string("rank_dropout: 0.4\nrank: ") + rank), whole = adapt("loha", std::string("rank: ") + rank);
    adapted.disturb(3), whole.disturb(3);
    const auto x = at::ones({2, 64});
    const auto update = update_in_training(adapted, x, 11);
    EXPECT_TRUE(at::equal(update_in_training(adapted, x, 11), update));
    EXPECT_FALSE(at::equal(update_in_training(adapted, x, 12), update));
    const auto dropped = update.abs() < 1e-6;  // what is left of y − W x rounds to some 1e-7
    EXPECT_TRUE(at::equal(dropped[0], dropped[1])) << "an output falls out for all rows";
    const auto count = dropped[0].sum().item<int64_t>();
    EXPECT_GT(count, 64 * 0.4 - 16);  // four standard deviations of 64 draws
    EXPECT_LT(count, 64 * 0.4 + 16);
    const auto expected = update_in_training(whole, x, 11) * at::where(dropped, 0.0, 64.0 / static_cast<double>(64 - count));
    EXPECT_LT((update - expected).abs().max().item<double>(), 1e-5);
  }
}

TEST(Loha, ModuleDropoutDropsTheWholeUpdateNowAndThen) {
  const auto adapted = adapt("loha", "module_dropout: 0.5");
  adapted.disturb(3);
  const auto x = at::ones({2, 64});
  int64_t dropped = 0;
  for (uint64_t seed = 0; seed < 64; ++seed) dropped += update_in_training(adapted, x, seed * 7919).abs().max().item<double>() == 0;
  EXPECT_GT(dropped, 16);  // four standard deviations
  EXPECT_LT(dropped, 48);
  EXPECT_THAT(testing::refusal("loha", "module_dropout: 1"), HasSubstr("module_dropout"));
  EXPECT_THAT(testing::refusal("loha", "rank_dropout: -0.1"), HasSubstr("rank_dropout"));
  EXPECT_THAT(testing::refusal("loha", "rank: 0"), HasSubstr("rank"));
}

TEST(Loha, AFileWithTheNeededKeysOnlyHasPeftsDefaults) {
  const auto section = find_method("loha").from_published({{"peft_type", "LOHA"}, {"target_modules", {"q_proj"}}});
  ASSERT_TRUE(section.has_value());
  EXPECT_EQ(section->find("rank")->scalar, "8");
  EXPECT_EQ(std::stod(section->find("alpha")->scalar), 8.0);
  EXPECT_FALSE(find_method("loha").from_published({{"peft_type", "LOKR"}, {"target_modules", {"q_proj"}}}).has_value());
}

}  // namespace
}  // namespace graft::peft
