#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "pipelines/cloud/losses.h"
#include "pipelines/cloud/point_net.h"
#include "pipelines/cloud/prompts.h"

namespace graft::pipelines {
namespace {

at::Generator draw() { return at::make_generator<at::CPUGeneratorImpl>(7); }

template <class Module>
int64_t count_of(const Module& module) {
  peft::NamedTensors leaves;
  module.list("m", leaves);
  return element_count(leaves);
}

TEST(PointNet, HasTheCardsNumberOfParameters) {
  auto random = draw();
  EXPECT_EQ(count_of(PointNet(PointNorm::kBatch, random)), 2'803'529);
  EXPECT_EQ(count_of(PointNet(PointNorm::kRow, random)), 2'803'529);
  EXPECT_EQ(count_of(Dense(1024, 256, random)) + count_of(Dense(256, 512, random)), 393'984);
}

TEST(PointNet, OrderOfPointsDoesNotMatter) {
  for (const auto norm : {PointNorm::kRow, PointNorm::kBatch}) {
    auto random = draw();
    const PointNet net(norm, random);
    const auto points = at::rand({2, 37, 3});
    const auto shuffled = points.index_select(1, at::randperm(37));
    const auto a = net.forward(points, false), b = net.forward(shuffled, false);
    // Each point's own arithmetic is the same but for blocking of the products: a few ulp of values near 1.
    EXPECT_TRUE(at::allclose(a.feature, b.feature, 1e-4, 1e-5));
    EXPECT_GT((a.feature[0] - a.feature[1]).abs().max().item<double>(), 1e-3);
    EXPECT_EQ(a.feature.sizes(), (at::IntArrayRef{2, 1024}));
    EXPECT_EQ(a.transform.sizes(), (at::IntArrayRef{2, 64, 64}));
  }
}

TEST(PointNet, OursStartsNearTheIdentityAndDependsOnNoOtherCloud) {
  auto random = draw();
  const PointNet net(PointNorm::kRow, random);
  const auto points = at::rand({3, 64, 3});
  const auto all = net.forward(points, true);
  EXPECT_LT(orthogonality_loss(all.transform).item<double>(), 0.2);
  EXPECT_TRUE(at::allclose(net.forward(points.narrow(0, 1, 1), true).feature, all.feature.narrow(0, 1, 1), 1e-4, 1e-5));
}

TEST(PointNet, RunningStatisticsMoveInTrainingOnly) {
  auto random = draw();
  const PointNet net(PointNorm::kBatch, random);
  peft::NamedTensors statistics;
  net.list_statistics("net", statistics);
  const auto before = statistics.front().second.clone();
  const auto points = at::rand({3, 16, 3});
  const auto first = net.forward(points, false).feature;
  EXPECT_TRUE(at::equal(statistics.front().second, before));
  EXPECT_TRUE(at::equal(first, net.forward(points, false).feature));
  net.forward(points, true);
  EXPECT_FALSE(at::equal(statistics.front().second, before));
}

TEST(CrossAttention, HasTheCardsNumberOfParameters) {
  auto random = draw();
  EXPECT_EQ(count_of(CrossAttention({.width = 512, .key_width = 512}, random)), 4'204'032);
  EXPECT_EQ(count_of(CrossAttention({.width = 768, .key_width = 768, .one_key = true}, random)), 9'451'776);
  EXPECT_EQ(count_of(Dense(512, 768, random)), 393'984);
}

TEST(CrossAttention, SilentStartGivesTheTokensBack) {
  auto random = draw();
  const CrossAttention block({.width = 16, .key_width = 24, .heads = 4, .silent_start = true}, random);
  const auto tokens = at::rand({4, 16});
  EXPECT_TRUE(at::equal(block.forward(tokens, at::rand({5, 24})), tokens));
}

TEST(CrossAttention, WithoutResidualOneKeyMakesAllTokensEqual) {
  // The fault of the released code (card 2.11, 2), and what the residual mends.
  const auto tokens = at::rand({4, 16}), key = at::rand({3, 1, 24});
  const auto spread = [&](bool residual) {
    auto random = draw();
    const auto z = CrossAttention({.width = 16, .key_width = 24, .heads = 4, .residual = residual, .one_key = true}, random).forward(tokens, key);
    EXPECT_EQ(z.sizes(), (at::IntArrayRef{3, 4, 16}));
    return (z - z.narrow(1, 0, 1)).abs().max().item<double>();
  };
  EXPECT_LT(spread(false), 1e-6);
  EXPECT_GT(spread(true), 0.1);
}

TEST(CrossAttention, WhatIsListedAsTrainableHasAnEffectAndTheRestHasNone) {
  for (const bool one_key : {true, false}) {
    auto random = draw();
    const CrossAttention block({.width = 16, .key_width = 24, .heads = 4, .one_key = one_key}, random);
    peft::NamedTensors all, trained;
    block.list("block", all);
    block.list_trainable("block", trained);
    block.forward(at::rand({4, 16}), one_key ? at::rand({3, 1, 24}) : at::rand({5, 24})).square().sum().backward();
    const auto reached = [](const at::Tensor& leaf) { return leaf.grad().defined() && leaf.grad().abs().max().item<double>() > 1e-6; };
    for (const auto& [name, leaf] : trained) EXPECT_TRUE(reached(leaf) || name == "block.key.bias") << name;  // softmax does not see a shift
    EXPECT_EQ(trained.size() + (one_key ? 6u : 0u), all.size());
    if (one_key) {
      for (size_t i = 0; i < 6; ++i) EXPECT_FALSE(reached(all[i].second)) << all[i].first;
    }
  }
}

}  // namespace
}  // namespace graft::pipelines
