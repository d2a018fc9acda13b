#include "peft_core/methods/low_rank/id_lora.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <set>

#include "kernels/base/error.h"
#include "peft_core/methods/low_rank/row_bank.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::Adapted;
using testing::adapt;
using testing::refusal;
using testing::relative_error;
using testing::slot_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kUnit32 = 0x1p-24;
const std::string kQuery = "model.layers.0.self_attn.q_proj", kDown = "model.layers.1.mlp.down_proj";

at::Tensor leaf(const Adapted& adapted, const std::string& name) { return adapted.attachment->state().at(name); }

std::vector<int64_t> numbers(const at::Tensor& rows) {
  return {rows.const_data_ptr<int64_t>(), rows.const_data_ptr<int64_t>() + rows.numel()};
}

/// Rows around three far centres: 5 around the first, 3 around the second, 2 around the third, the i-th of each i / 128 away from its corner: exact numbers, so that ties are ties.
at::Tensor three_heaps() {
  auto points = at::zeros({10, 3});
  const int64_t heap[] = {0, 1, 0, 2, 0, 1, 0, 2, 0, 1};
  int64_t seen[] = {0, 0, 0};
  for (int64_t i = 0; i < 10; ++i) {
    points[i][heap[i]] = 10;
    points[i][(heap[i] + 1) % 3] = static_cast<double>(seen[heap[i]]++) / 128;
  }
  return points;
}

TEST(RowBank, TakesTheRowsNearestToEachCentre) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
    const auto bank = clustered_rows(three_heaps(), 3, 2, random);
    std::set<std::vector<int64_t>> heaps;
    for (int64_t c = 0; c < 3; ++c) heaps.insert(numbers(bank[c]));
    // First heap: rows 0 2 4 6 8 at 0 .. 4 / 128 from its corner, mean 2 / 128: row 4, then 2 and 6 as near as each other, the lower one first.
    // Second: rows 1 5 9, mean 1 / 128: 5, then 1. Third: rows 3 7 as near as each other.
    EXPECT_THAT(heaps, ElementsAre(ElementsAre(3, 7), ElementsAre(4, 2), ElementsAre(5, 1))) << seed;
  }
}

TEST(RowBank, FillsAGroupThatIsTooSmallWithTheRowsThatLoseLeast) {
  // Two rows far away form a group of their own; three are asked for. The third must be row 5, the one of the crowd nearest to them.
  auto points = at::zeros({9, 2});
  for (int64_t i = 0; i < 9; ++i) points[i][0] = 0.1 * static_cast<double>(i);
  points[5][0] = 3;
  for (const int64_t far : {2, 7}) points[far][0] = 100;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    auto random = at::make_generator<at::CPUGeneratorImpl>(seed);
    const auto bank = clustered_rows(points, 2, 3, random);
    std::set<int64_t> first, second;
    for (const auto row : numbers(bank[0])) first.insert(row);
    for (const auto row : numbers(bank[1])) second.insert(row);
    EXPECT_EQ(first.contains(2) ? first : second, (std::set<int64_t>{2, 5, 7})) << seed;
  }
}

TEST(RowBank, NumbersAreDistinctAndFollowTheSeedForAnyWeight) {
  at::manual_seed(1);
  const auto twins = at::ones({12, 4});  // no distance tells these rows apart
  for (const auto& weight : {at::randn({12, 4}), twins, at::zeros({12, 4}), at::randn({12, 1})})
    for (const int64_t clusters : {1, 2, 3, 4, 12}) {
      std::vector<int64_t> before;
      for (int repeat = 0; repeat < 2; ++repeat) {
        auto random = at::make_generator<at::CPUGeneratorImpl>(3);
        const auto bank = clustered_rows(weight, clusters, 12 / clusters, random);
        const auto all = numbers(bank);
        EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), 12u);
        if (repeat > 0) { EXPECT_EQ(all, before); }
        before = all;
      }
    }
  auto random = at::make_generator<at::CPUGeneratorImpl>(3);
  const auto drawn = numbers(random_rows(12, 3, 4, random));
  EXPECT_EQ(std::set<int64_t>(drawn.begin(), drawn.end()).size(), 12u);
}

TEST(IdLora, BankRowsAreRowsOfTheWeightBitForBit) {
  for (const auto& storage : {testing::kDense, testing::kDenseBf16, testing::kNf4, testing::kBlocks}) {
    const auto adapted = adapt("id_lora", "", "llama", storage);
    for (const auto* slot : adapted.model->places().linears) {
      const auto rows = leaf(adapted, slot->name() + ".id_lora_rows").view({-1});
      const auto all = numbers(rows);
      EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), all.size()) << slot->name();
      EXPECT_TRUE(at::equal(slot->base()->gather(rows, at::kFloat), slot->base()->weight().index_select(0, rows))) << slot->name();
    }
  }
}

struct Exact {
  at::Tensor x, b, t, y;
};

/// y of the card's formula in float64 from plain products with the rows themselves, differentiable in x, b and t.
Exact exact_output(const Adapted& adapted, const LinearSlot& slot, const at::Tensor& x, bool boosted, const std::string& router, double scale) {
  const auto leaf64 = [&](const std::string& name) { return leaf(adapted, slot.name() + name).detach().to(at::kDouble).requires_grad_(); };
  Exact exact{x.detach().to(at::kDouble).requires_grad_(), leaf64(".id_lora_B.weight"), {}, {}};
  if (router != "constant") exact.t = leaf64(".id_lora_router");
  const auto rows = leaf(adapted, slot.name() + ".id_lora_rows");
  const auto weight = slot.base()->weight().to(at::kDouble);
  const auto k = rows.size(0), r = rows.size(1);
  std::vector<at::Tensor> z, logits;
  for (int64_t i = 0; i < k; ++i) {
    z.push_back(at::mm(exact.x, weight.index_select(0, rows[i]).t()));
    logits.push_back(exact.t.defined() ? at::mv(z.back(), exact.t) : at::full({x.size(0)}, 1.0 / static_cast<double>(k), at::kDouble));
  }
  auto alpha = at::stack(logits, 1);
  if (router == "softmax") alpha = alpha.softmax(1);
  exact.y = at::mm(exact.x, weight.t());
  if (slot.bias().defined()) exact.y = exact.y + slot.bias().to(at::kDouble);
  const auto full_b = boosted ? at::cat({at::cat({exact.b, at::zeros_like(exact.b)}, 1), at::cat({at::zeros_like(exact.b), exact.b}, 1)}, 0) : exact.b;
  EXPECT_EQ(full_b.size(1), r);
  for (int64_t i = 0; i < k; ++i) exact.y = exact.y + at::mm(z[static_cast<size_t>(i)], full_b.t()) * alpha.select(1, i).unsqueeze(1) * scale;
  return exact;
}

TEST(IdLora, OutputAndGradientsAreThoseOfTheFormulaGatheredAndMultiplied) {
  for (const auto& name : {kQuery, kDown})  // q has a bias: its rows are multiplied with; the other's latents are gathered
    for (const bool boosted : {true, false})
      for (const auto* router : {"linear", "softmax", "constant"}) {
        const auto adapted = adapt("id_lora", std::string("rank: 6\nclusters: 3\nscale: 1.5\ntargets: [q_proj, down_proj]\nrouter: ") + router +
                                                  "\nrank_boosting: " + (boosted ? "true" : "false"));
        adapted.disturb(3);
        const auto& slot = slot_of(adapted, name);
        at::manual_seed(1);
        const auto x = at::randn({9, slot.base()->in_features()}).requires_grad_(), g = at::randn({9, slot.base()->out_features()});
        const auto exact = exact_output(adapted, slot, x, boosted, router, 1.5);
        torch::autograd::backward({exact.y}, {g.to(at::kDouble)});
        const auto y = slot.forward(x, {});
        torch::autograd::backward({y}, {g});
        // Sums of up to 96 terms, one behind the other for z and for α, whose products are of size 10.
        constexpr double kTolerance = 4 * 96 * kUnit32;
        EXPECT_LT(relative_error(y, exact.y), kTolerance) << name << router;
        EXPECT_LT(relative_error(x.grad(), exact.x.grad()), kTolerance) << name << router;
        EXPECT_LT(relative_error(leaf(adapted, name + ".id_lora_B.weight").grad(), exact.b.grad()), kTolerance) << name << router;
        if (exact.t.defined()) {
          EXPECT_LT(relative_error(leaf(adapted, name + ".id_lora_router").grad(), exact.t.grad()), kTolerance) << name << router;
        }
      }
}

TEST(IdLora, LatentsGatheredFromTheBasesProductAreTheProductsWithTheRows) {
  const auto adapted = adapt("id_lora", "rank: 8\ndropout: 0.5\ntargets: [down_proj]");
  adapted.disturb(3);
  const auto& slot = slot_of(adapted, kDown);
  at::NoGradGuard no_gradient;
  at::manual_seed(1);
  const auto x = at::randn({9, 96});
  const auto gathered = slot.forward(x, {});
  const auto training = slot.forward(x, {.training = true, .dropout_seed = 4});
  EXPECT_GT(relative_error(training, gathered), 1e-3);
  const auto tiny = adapt("id_lora", "rank: 8\ndropout: 1e-12\ntargets: [down_proj]");  // drops nothing, and multiplies
  AdapterState same;
  for (const auto& [name, tensor] : adapted.attachment->state()) same[name] = tensor.detach().clone();
  load_state(*tiny.attachment, same, "same");
  EXPECT_LT(relative_error(slot_of(tiny, kDown).forward(x, {.training = true, .dropout_seed = 4}), gathered), 2 * 96 * kUnit32);
}

TEST(IdLora, WithAConstantRouterItMergesExactly) {
  for (const auto& storage : {testing::kDense, testing::kNf4})
    for (const auto* boosting : {"true", "false"}) {
      auto adapted = adapt("id_lora", std::string("rank: 4\nrouter: constant\nrank_boosting: ") + boosting, "qwen2", storage);
      adapted.disturb(3);
      const auto batch = testing::tiny_batch();
      const auto before = adapted.logits(batch);
      adapted.attachment->merge(at::kFloat);
      EXPECT_LT(relative_error(adapted.logits(batch), before.to(at::kDouble)), 15 * 16 * kUnit32);
    }
}

TEST(IdLora, OneBankWithoutARouterIsLoraWithAFrozenA) {
  const auto adapted = adapt("id_lora", "rank: 4\nclusters: 1\nrouter: constant\nrank_boosting: false\ntargets: [down_proj]");
  adapted.disturb(3);
  const auto& slot = slot_of(adapted, kDown);
  const auto a = slot.base()->weight().index_select(0, leaf(adapted, kDown + ".id_lora_rows").view({-1})).to(at::kDouble);
  const auto update = at::mm(leaf(adapted, kDown + ".id_lora_B.weight").detach().to(at::kDouble), a);
  EXPECT_LT(relative_error(slot.adapter()->merged_weight(*slot.base()), slot.base()->weight().to(at::kDouble) + update), 8 * kUnit32);
}

TEST(IdLora, TheMixOfBanksFollowsTheInput) {
  const auto adapted = adapt("id_lora", "rank: 4\ntargets: [down_proj]");
  adapted.disturb(3);
  const auto& slot = slot_of(adapted, kDown);
  at::NoGradGuard no_gradient;
  at::manual_seed(1);
  const auto x = at::randn({5, 96});
  const auto update = [&](const at::Tensor& input) { return slot.forward(input, {}) - frozen_linear(input, slot.base(), slot.bias()); };
  // Weights and latents are both linear in x: the update of 2 x is four times that of x.
  EXPECT_LT(relative_error(update(x * 2), update(x) * 4), 1e-4);
}

TEST(IdLora, TheRouterGetsItsFirstGradientOnceBHasMoved) {
  const auto adapted = adapt("id_lora");
  const auto batch = testing::tiny_batch();
  adapted.train(batch, 1);
  for (const auto& [name, tensor] : adapted.trainable())
    EXPECT_EQ(tensor.grad().abs().max().item<double>() > 0, name.ends_with("B.weight")) << name;
  adapted.train(batch, 1);
  for (const auto& [name, tensor] : adapted.trainable()) EXPECT_GT(tensor.grad().abs().max().item<double>(), 0) << name;
}

TEST(IdLora, ParametersAreThoseOfTheFormulas) {
  for (const bool boosted : {true, false}) {
    const auto adapted = adapt("id_lora", std::string("rank: 8\nrank_boosting: ") + (boosted ? "true" : "false"));
    int64_t trainable = 0, expected = 0;
    for (const auto& [name, tensor] : adapted.trainable()) trainable += tensor.numel();
    for (const auto* slot : adapted.model->places().linears) expected += 8 * slot->base()->out_features() / (boosted ? 4 : 1) + 8;
    EXPECT_EQ(trainable, expected);
  }
}

TEST(IdLora, RanksThatDoNotFitAreRefusedAndTheUsualOneShrinksOnSmallLayers) {
  const auto adapted = adapt("id_lora");
  EXPECT_EQ(leaf(adapted, "model.layers.0.self_attn.k_proj.id_lora_rows").size(1), 8);  // 32 rows, 4 clusters
  EXPECT_EQ(leaf(adapted, "model.layers.0.mlp.up_proj.id_lora_rows").size(1), 24);      // 96 rows
  EXPECT_EQ(leaf(adapt("id_lora", "clusters: 2"), "model.layers.0.mlp.up_proj.id_lora_rows").size(1), 32);
  EXPECT_THAT(refusal("id_lora", "rank: 10"), AllOf(HasSubstr("k_proj"), HasSubstr("2..8")));
  EXPECT_THAT(refusal("id_lora", "rank: 7"), HasSubstr("even"));
  EXPECT_EQ(refusal("id_lora", "rank: 7\nrank_boosting: false"), "accepted");
  EXPECT_THAT(refusal("id_lora", "rank: 0"), HasSubstr("rank"));
  EXPECT_THAT(refusal("id_lora", "clusters: 0"), HasSubstr("clusters"));
  EXPECT_THAT(refusal("id_lora", "clusters: 64"), HasSubstr("of 64 rows"));
}

}  // namespace
}  // namespace graft::peft
