#include "peft_core/methods/low_rank/gralora.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/peft_core/methods/structured/layer_against_weight.h"

namespace graft::peft {
namespace {

using testing::adapt;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kKey = "model.layers.1.self_attn.k_proj";  // (32, 64), with a bias

/// Block by block, as the header writes it.
at::Tensor update(const testing::ExactLeaves& leaves, double scale) {
  const auto &a = leaves.at("gralora_A"), &b = leaves.at("gralora_B");
  const int64_t k = a.size(0), part = a.size(2) / k;
  std::vector<at::Tensor> rows;
  for (int64_t j = 0; j < k; ++j) {
    std::vector<at::Tensor> blocks;
    for (int64_t i = 0; i < k; ++i)
      blocks.push_back(at::mm(a[i].narrow(1, j * part, part), b[j].narrow(0, i * part, part)).t());
    rows.push_back(at::cat(blocks, 1));
  }
  auto all = at::cat(rows);
  if (leaves.contains("gralora_A_general.weight")) all = all + at::mm(leaves.at("gralora_B_general.weight"), leaves.at("gralora_A_general.weight"));
  return all * scale;
}

void expect_formula(const std::string& options, double scale) {
  const auto adapted = adapt("gralora", options);
  adapted.disturb(3);
  const auto weight = [&](const at::Tensor& frozen, const testing::ExactLeaves& leaves) { return frozen + update(leaves, scale); };
  testing::expect_layer_of_weight(adapted, kKey, weight, 9, 2 * 64);  // sums of 64 terms, and of the thin products
}

TEST(Gralora, EveryBlockHasItsOwnPair) {
  expect_formula("", 64.0 / 32);
  expect_formula("rank: 12\ngralora_k: 4\nalpha: 6", 6.0 / 12);
  expect_formula("rank: 3\ngralora_k: 1", 64.0 / 3);  // plain lora
  expect_formula("rank: 8\ngralora_k: 8\nhybrid_r: 5", 64.0 / 13);
}

TEST(Gralora, BlocksReachMoreThanTheRankOfOnePair) {
  const auto adapted = adapt("gralora", "rank: 8\ngralora_k: 4\ntargets: [k_proj]");
  adapted.disturb(3);
  testing::ExactLeaves leaves;
  for (const auto& [name, tensor] : adapted.attachment->state())
    if (name.starts_with(kKey + ".")) leaves[name.substr(kKey.size() + 1)] = tensor.detach().to(at::kDouble);
  EXPECT_EQ(at::linalg_matrix_rank(update(leaves, 1)).item<int64_t>(), 32);  // k · r, all there is
}

TEST(Gralora, StartIsLorasInEachBlock) {
  const auto adapted = adapt("gralora", "gralora_k: 4\nrank: 64\ntargets: [q_proj]");
  const auto a = adapted.trainable().front().second;
  // 64 x 64 values uniform in ±1/√16: the largest comes within a thousandth of the bound but for one chance in sixty.
  EXPECT_LE(a.abs().max().item<double>(), 0.25);
  EXPECT_GT(a.abs().max().item<double>(), 0.2497);
}

TEST(Gralora, PartsThatDoNotFitAreRefused) {
  EXPECT_THAT(testing::refusal("gralora", "rank: 6\ngralora_k: 4"), AllOf(HasSubstr("method.gralora_k"), HasSubstr("divisor of 6")));
  EXPECT_THAT(testing::refusal("gralora", "rank: 12\ngralora_k: 3\ntargets: [q_proj]"), AllOf(HasSubstr("q_proj"), HasSubstr("divisor of 64")));
  EXPECT_THAT(testing::refusal("gralora", "rank: 0"), HasSubstr("method.rank"));
  EXPECT_THAT(testing::refusal("gralora", "dropout: 1"), HasSubstr("method.dropout"));
}

}  // namespace
}  // namespace graft::peft
