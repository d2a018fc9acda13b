#include "peft_core/methods/structured/miss.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

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

/// W'[i, j] = W[i, j] + D[j mod r, i mod width]
at::Tensor shared_everywhere(const at::Tensor& w, const at::Tensor& d) {
  const auto columns = at::arange(w.size(1)).remainder(d.size(0)), rows = at::arange(w.size(0)).remainder(d.size(1));
  return w + d.index_select(0, columns).index_select(1, rows).t();
}

// Rank 7 leaves a rest in every layer, 40 in all but the one of 96 inputs does too. Sums of at most 96 terms, two in a row.
TEST(Miss, OutputAndGradientsAreThoseOfTheSharedMatrix) {
  for (const auto* options : {"rank: 8", "rank: 7", "rank: 40", "rank: 64", "rank: 1", "rank: 8\ninit_weights: mini\nmini_r: 4", "rank: 7\ninit_weights: mini"}) {
    const auto adapted = adapt("miss", options);
    adapted.disturb(3);
    for (const auto& layer : {kQuery, kDown})
      for (const int64_t rows : {1, 7, 65})
        expect_layer_of_weight(
            adapted, layer, [](const auto& w, const auto& leaves) { return shared_everywhere(w, leaves.at("miss_block")); }, rows, 2 * 96);
  }
}

// The update is a product of W's blocks and the result one of 96 terms; gradients sum over rows before they meet W.
TEST(Miss, BatMultipliesTheBlocksOfTheWeight) {
  for (const int64_t r : {1, 8, 32}) {
    const auto adapted = adapt("miss", "init_weights: bat\nrank: " + std::to_string(r));
    adapted.disturb(3);
    const auto weight = [&](const at::Tensor& w, const testing::ExactLeaves& leaves) {
      const auto& blocks = leaves.at("miss_block");
      std::vector<at::Tensor> rows;
      for (int64_t i = 0; i < w.size(0) / r; ++i) {
        std::vector<at::Tensor> row;
        for (int64_t j = 0; j < w.size(1) / r; ++j) {
          const auto block = w.narrow(0, i * r, r).narrow(1, j * r, r);
          row.push_back(block + at::mm(block, blocks[i]) + blocks[i]);
        }
        rows.push_back(at::cat(row, 1));
      }
      return at::cat(rows, 0);
    };
    for (const auto& layer : {kQuery, kDown})
      for (const int64_t count : {1, 65}) expect_layer_of_weight(adapted, layer, weight, count, 3 * 96);
  }
}

TEST(Miss, BatMergesToTheSameOutputsAndIsTheBaseAtTheStart) {
  const auto batch = testing::tiny_batch();
  for (const auto& storage : {testing::kDense, testing::kNf4}) {
    auto adapted = adapt("miss", "init_weights: bat\nrank: 16", "qwen2", storage);
    EXPECT_TRUE(at::equal(adapted.logits(batch), testing::Adapted{testing::tiny_model("qwen2", storage), nullptr}.logits(batch)));
    adapted.disturb(5);
    const auto before = adapted.logits(batch);
    adapted.attachment->merge(at::kFloat);
    // As in the conformance suite, and one more product of 16 terms for each of the 14 layers.
    EXPECT_LT(testing::relative_error(adapted.logits(batch), before.to(at::kDouble)), 2 * 15 * 16 * 0x1p-24);
  }
}

TEST(Miss, DropoutChangesTheSumsOnlyAndItsGradientUsesTheSameMask) {
  const auto adapted = adapt("miss", "rank: 8\ndropout: 0.5");
  adapted.disturb(3);
  const auto& slot = testing::slot_of(adapted, kQuery);
  const ForwardContext context{.training = true, .dropout_seed = 5};
  const auto x = at::ones({4, 64}).requires_grad_(), g = at::ones({4, 64});
  torch::autograd::backward({slot.forward(x, context)}, {g});
  // The layer is linear: the gradient's product with x is the output's with g, without the bias, only if both draws are the same.
  at::NoGradGuard no_gradient;
  const auto y = slot.forward(x, context) - slot.bias();
  EXPECT_NEAR((x.grad() * x).sum().item<double>(), (y * g).sum().item<double>(), 1e-3);
  EXPECT_FALSE(at::equal(slot.forward(x, {.training = true, .dropout_seed = 6}), slot.forward(x, context)));
}

TEST(Miss, WhatDoesNotFitALayerIsRefused) {
  EXPECT_THAT(testing::refusal("miss", "rank: 65"), HasSubstr("1..64"));
  EXPECT_THAT(testing::refusal("miss", "rank: 0"), HasSubstr("rank"));
  EXPECT_THAT(testing::refusal("miss", "rank: 7\ninit_weights: bat"), HasSubstr("divisor"));
  EXPECT_THAT(testing::refusal("miss", "init_weights: mini\nmini_r: 7"), HasSubstr("mini_r"));
  EXPECT_THAT(testing::refusal("miss", "init_weights: bat\nrank: 8\ndropout: 0.1"), HasSubstr("dropout"));
  EXPECT_THAT(testing::refusal("miss", "dropout: 1"), HasSubstr("dropout"));
}

TEST(Miss, FilesSayWhichForm) {
  for (const auto* form : {"bat", "mini"}) {
    const auto published = adapt("miss", std::string("rank: 8\ninit_weights: ") + form).attachment->published_config();
    EXPECT_EQ(published.at("init_weights"), form);
    EXPECT_EQ(find_method("miss").from_published(published)->find("init_weights")->scalar, form);
  }
  EXPECT_EQ(adapt("miss").attachment->published_config().at("init_weights"), true);
  EXPECT_EQ(find_method("miss").from_published({{"peft_type", "MISS"}, {"target_modules", {"q_proj"}}})->find("rank")->scalar, "64");
}

}  // namespace
}  // namespace graft::peft
