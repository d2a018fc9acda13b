#include "peft_core/methods/structured/lokr.h"

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
const std::string kGate = "model.layers.1.mlp.gate_proj";      // 96 by 64

TEST(Lokr, SizesAreDividedAsPeftDividesThem) {
  using Pair = std::pair<int64_t, int64_t>;
  EXPECT_EQ(kronecker_factors(256, -1), Pair(16, 16));
  EXPECT_EQ(kronecker_factors(128, -1), Pair(8, 16));
  EXPECT_EQ(kronecker_factors(127, -1), Pair(1, 127));
  EXPECT_EQ(kronecker_factors(128, 4), Pair(4, 32));
  EXPECT_EQ(kronecker_factors(128, 64), Pair(64, 2));  // a factor that divides is taken as it is
  EXPECT_EQ(kronecker_factors(128, 12), Pair(8, 16));
  EXPECT_EQ(kronecker_factors(12, 5), Pair(3, 4));
  EXPECT_EQ(kronecker_factors(1536, 7), Pair(6, 256));
  EXPECT_EQ(kronecker_factors(1, -1), Pair(1, 1));
}

at::Tensor side(const testing::ExactLeaves& leaves, const std::string& name) {
  return leaves.contains(name) ? leaves.at(name) : at::mm(leaves.at(name + "_a"), leaves.at(name + "_b"));
}

// Sums of at most 96 terms in three products in a row.
TEST(Lokr, OutputAndGradientsAreThoseOfTheKroneckerProduct) {
  for (const auto* options : {"rank: 2", "rank: 64", "rank: 2\ndecompose_both: true", "rank: 2\ndecompose_factor: 2", "rank: 3\ndecompose_factor: 32",
                              "rank: 1\ndecompose_factor: 1", "rank: 2\ninit_weights: lycoris"}) {
    const auto adapted = adapt("lokr", std::string(options) + "\nalpha: 6");
    adapted.disturb(3);
    const double scale = 6.0 / std::stod(std::string(options).substr(6));
    for (const auto& layer : {kQuery, kGate})
      for (const int64_t rows : {1, 7, 65})
        expect_layer_of_weight(
            adapted, layer,
            [&](const auto& w, const auto& leaves) { return w + scale * at::kron(side(leaves, "lokr_w1"), side(leaves, "lokr_w2")); }, rows, 3 * 96);
  }
}

std::vector<std::string> tensors_of_query(const std::string& options) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : adapt("lokr", options).attachment->state())
    if (name.starts_with(kQuery)) names.push_back(name.substr(kQuery.size() + 1));
  return names;
}

TEST(Lokr, ASideIsDecomposedWhereTheRankIsBelowHalfOfIt) {
  // 64 = 8 · 8, so ranks below 4.
  using ::testing::ElementsAre;
  EXPECT_THAT(tensors_of_query("rank: 4"), ElementsAre("lokr_w1", "lokr_w2"));
  EXPECT_THAT(tensors_of_query("rank: 3"), ElementsAre("lokr_w1", "lokr_w2_a", "lokr_w2_b"));
  EXPECT_THAT(tensors_of_query("rank: 3\ndecompose_both: true"), ElementsAre("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"));
  EXPECT_THAT(tensors_of_query("rank: 3\ndecompose_factor: 1"), ElementsAre("lokr_w1", "lokr_w2_a", "lokr_w2_b"));
}

TEST(Lokr, EitherStartLeavesOneSideZero) {
  const auto zero = [](const std::string& options, const std::string& name) {
    return adapt("lokr", options).attachment->state().at(kQuery + "." + name).abs().max().item<double>() == 0;
  };
  EXPECT_TRUE(zero("rank: 4", "lokr_w1"));
  EXPECT_FALSE(zero("rank: 4", "lokr_w2"));
  EXPECT_FALSE(zero("rank: 4\ninit_weights: lycoris", "lokr_w1"));
  EXPECT_TRUE(zero("rank: 4\ninit_weights: lycoris", "lokr_w2"));
  EXPECT_TRUE(zero("rank: 2\ninit_weights: lycoris", "lokr_w2_b"));
  EXPECT_TRUE(zero("rank: 2\ndecompose_both: true", "lokr_w1_a"));
}

TEST(Lokr, RankDropoutDropsOutputsAndRescalesOnlyWhenAsked) {
  for (const bool rescale : {false, true}) {
    const auto adapted = adapt("lokr", std::string("rank_dropout: 0.4\nrank_dropout_scale: ") + (rescale ? "true" : "false"));
    adapted.disturb(3);
    const auto& slot = testing::slot_of(adapted, kQuery);
    at::NoGradGuard no_gradient;
    const auto x = at::ones({1, 64});
    const auto base = frozen_linear(x, slot.base(), slot.bias());
    const auto whole = slot.forward(x, {}) - base, update = slot.forward(x, {.training = true, .dropout_seed = 5}) - base;
    const auto dropped = update.abs() < 1e-6;
    const auto left = 64 - dropped.sum().item<int64_t>();
    EXPECT_NEAR(static_cast<double>(left), 64 * 0.6, 16);  // four standard deviations
    const double factor = rescale ? 64.0 / static_cast<double>(left) : 1.0;
    EXPECT_LT((update - whole * at::where(dropped, 0.0, factor)).abs().max().item<double>(), 1e-5);
  }
}

TEST(Lokr, FilesSayHowTheSidesWereDivided) {
  const auto published = adapt("lokr", "decompose_factor: 4\ndecompose_both: true\ninit_weights: lycoris").attachment->published_config();
  EXPECT_EQ(published.at("decompose_factor"), 4);
  EXPECT_EQ(published.at("decompose_both"), true);
  EXPECT_EQ(published.at("init_weights"), "lycoris");
  EXPECT_EQ(adapt("lokr").attachment->published_config().at("init_weights"), true);
  EXPECT_TRUE(find_method("lokr").from_published({{"peft_type", "LOKR"}, {"target_modules", {"q_proj"}}, {"init_weights", false}}).has_value());
  EXPECT_THAT(testing::refusal("lokr", "init_weights: random"), HasSubstr("lycoris"));
}

}  // namespace
}  // namespace graft::peft
