#include "peft_core/methods/structured/hra.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "peft_core/base/log.h"
#include "tests/peft_core/methods/structured/layer_against_weight.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::expect_layer_of_weight;
using ::testing::HasSubstr;

const std::string kQuery = "model.layers.0.self_attn.q_proj";  // 64 by 64, with a bias
const std::string kDown = "model.layers.1.mlp.down_proj";      // 64 by 96

at::Tensor reflected(at::Tensor w, const at::Tensor& u) {
  for (int64_t i = 0; i < u.size(1); ++i) {
    const auto unit = (u.select(1, i) / u.select(1, i).norm()).unsqueeze(1);
    w = w - 2 * at::mm(at::mm(w, unit), unit.t());
  }
  return w;
}

/// Gram–Schmidt, column by column.
at::Tensor reflected_orthogonally(const at::Tensor& w, const at::Tensor& u) {
  std::vector<at::Tensor> basis;
  for (int64_t i = 0; i < u.size(1); ++i) {
    auto v = u.select(1, i);
    for (const auto& b : basis) v = v - b.dot(v) * b;
    basis.push_back(v / v.norm());
  }
  const auto v = at::stack(basis, 1);
  return w - 2 * at::mm(at::mm(w, v), v.t());
}

// Sums of 96 terms, in the product, in the r rows of W L, in the lengths and in the chain. The columns of u are shortened to length 1, which
// takes from a gradient the part along the column: what is left is a small part of a sum, so it has larger relative errors.
TEST(Hra, OutputAndGradientsAreThoseOfTheChainOfReflections) {
  for (const int64_t rank : {1, 2, 3, 8}) {
    const auto adapted = adapt("hra", "rank: " + std::to_string(rank));
    adapted.disturb(3);
    for (const auto& layer : {kQuery, kDown})
      for (const int64_t rows : {1, 7, 65})
        expect_layer_of_weight(adapted, layer, [](const auto& w, const auto& leaves) { return reflected(w, leaves.at("hra_u")); }, rows, 8 * 96);
  }
}

TEST(Hra, WithGramSchmidtTheReflectionsAreOrthogonal) {
  for (const int64_t rank : {1, 4, 7}) {
    const auto adapted = adapt("hra", "apply_gs: true\nrank: " + std::to_string(rank));
    for (const auto& layer : {kQuery, kDown})
      for (const int64_t rows : {1, 65})
        expect_layer_of_weight(adapted, layer, [](const auto& w, const auto& leaves) { return reflected_orthogonally(w, leaves.at("hra_u")); }, rows,
                               8 * 96);
  }
}

TEST(Hra, TheChainIsOrthogonalAndEqualPairsAreExactlyNothing) {
  at::manual_seed(3);
  const auto u = at::randn({17, 5});
  const auto chain = reflection_chain(u);
  const auto r = at::eye(17) + at::mm(chain.left, chain.right.t());
  EXPECT_LT((at::mm(r, r.t()) - at::eye(17)).abs().max().item<double>(), 1e-5);
  const auto pairs = reflection_chain(at::randn({17, 3}).repeat_interleave(2, 1));
  EXPECT_EQ(at::mm(pairs.left, pairs.right.t()).abs().max().item<double>(), 0.0);
  EXPECT_GT(pairs.left.abs().max().item<double>(), 0.0);
}

// The numbers behind a pair that has moved a little: a difference of 1e-4 must not drown in the rounding of lengths of 1.
TEST(Hra, ASmallTurnIsExact) {
  at::manual_seed(4);
  const auto first = at::randn({33, 1}), second = first + 1e-4 * at::randn({33, 1});
  const auto u = at::cat({first, second}, 1);
  const auto chain = reflection_chain(u);
  const auto exact = reflected(at::eye(33, at::kDouble), u.to(at::kDouble)) - at::eye(33, at::kDouble);
  // u and v are rounded to 2^-24 and d has length 1e-4.
  EXPECT_LT(testing::relative_error(at::mm(chain.left, chain.right.t()), exact), 4 * 0x1p-24 / 1e-4);
}

TEST(Hra, OddRanksAndGramSchmidtDoNotStartAtTheBase) {
  const auto batch = testing::tiny_batch();
  const auto base = testing::Adapted{testing::tiny_model("qwen2"), nullptr}.logits(batch);
  std::ostringstream warnings;
  const LogToStream quiet(warnings);
  EXPECT_TRUE(at::equal(adapt("hra", "rank: 6").logits(batch), base));
  EXPECT_EQ(warnings.str(), "");
  for (const auto* options : {"rank: 3", "apply_gs: true"}) {
    EXPECT_FALSE(at::equal(adapt("hra", options).logits(batch), base)) << options;
    EXPECT_TRUE(at::isfinite(adapt("hra", options).logits(batch)).all().item<bool>()) << options;
  }
  EXPECT_THAT(warnings.str(), AllOf(HasSubstr("odd rank"), HasSubstr("apply_gs")));
  EXPECT_THAT(testing::refusal("hra", "rank: 65"), HasSubstr("1..64"));
  EXPECT_THAT(testing::refusal("hra", "rank: 0"), HasSubstr("rank"));
}

TEST(Hra, FilesSayWhetherTheReflectionsAreOrthogonal) {
  const auto published = adapt("hra", "apply_gs: true\nrank: 4").attachment->published_config();
  EXPECT_EQ(published.at("apply_GS"), true);
  EXPECT_EQ(find_method("hra").from_published(published)->find("apply_gs")->scalar, "true");
  EXPECT_EQ(find_method("hra").from_published({{"peft_type", "HRA"}, {"target_modules", {"q_proj"}}})->find("rank")->scalar, "8");
}

}  // namespace
}  // namespace graft::peft
