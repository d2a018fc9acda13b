#include "peft_core/methods/structured/oft.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/base/error.h"
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

at::Tensor skew(const at::Tensor& values, int64_t block) {
  auto q = at::zeros({block, block}, values.options().requires_grad(false));
  int64_t next = 0;
  for (int64_t i = 0; i < block; ++i)
    for (int64_t j = i + 1; j < block; ++j, ++next) {
      auto place = at::zeros({block, block}, values.options().requires_grad(false));
      place[i][j] = 1, place[j][i] = -1;
      q = q + place * values[next];
    }
  return q;
}

/// W Rᵀ, block by block; the series summed term by term, or the quotient by an inverse.
at::Tensor rotated(const at::Tensor& w, const at::Tensor& values, int64_t block, int64_t terms) {
  std::vector<at::Tensor> blocks;
  const auto eye = at::eye(block, at::kDouble);
  for (int64_t i = 0; i < w.size(1) / block; ++i) {
    const auto q = skew(values[values.size(0) == 1 ? 0 : i], block);
    auto r = eye;
    if (terms == 0) {
      r = at::mm(eye - q, at::inverse(eye + q));
    } else {
      const std::vector<double> factors = terms == 2 ? std::vector<double>{2} : terms <= 4 ? std::vector<double>{2, 2, 1} : std::vector<double>{2, 2, 2, 1};
      auto power = eye;
      for (const double factor : factors) power = at::mm(power, q), r = r + power * factor;
    }
    blocks.push_back(at::mm(w.narrow(1, i * block, block), r.t()));
  }
  return at::cat(blocks, 1);
}

// Sums of 96 terms, and up to five products of 8 terms for the rotation.
TEST(Oft, OutputAndGradientsAreThoseOfTheRotatedWeight) {
  const std::pair<const char*, int64_t> forms[] = {{"block_size: 8", 5},
                                                   {"block_size: 8\nblock_share: true", 5},
                                                   {"block_size: 8\nuse_cayley_neumann: false", 0},
                                                   {"block_size: 8\nnum_cayley_neumann_terms: 2", 2},
                                                   {"block_size: 8\nnum_cayley_neumann_terms: 3", 3},
                                                   {"block_size: 8\nnum_cayley_neumann_terms: 4", 4}};
  for (const auto& [options, terms] : forms) {
    const auto adapted = adapt("oft", options);
    adapted.disturb(3);
    for (const auto& layer : {kQuery, kDown})
      for (const int64_t rows : {1, 7, 65})
        expect_layer_of_weight(
            adapted, layer, [&, terms = terms](const auto& w, const auto& leaves) { return rotated(w, leaves.at("oft_R.weight"), 8, terms); }, rows,
            3 * 96);
  }
}

TEST(Oft, TheExactTransformIsOrthogonalAndTheSeriesComesNearItsInverse) {
  at::manual_seed(2);
  const auto values = at::randn({3, 28}) * 0.05, eye = at::eye(8);
  const auto exact = cayley_minus_identity(values, 8, 0) + eye, series = cayley_minus_identity(values, 8, 12) + eye;
  EXPECT_LT((at::bmm(exact, exact.transpose(1, 2)) - eye).abs().max().item<double>(), 1e-6);
  EXPECT_LT((at::bmm(exact, series) - eye).abs().max().item<double>(), 1e-5);  // |Q| is some 0.25; 0.25^12 = 6e-8
  EXPECT_GT((at::bmm(exact, exact) - eye).abs().max().item<double>(), 0.1);
  EXPECT_EQ(cayley_minus_identity(at::zeros({2, 28}), 8, 0).abs().max().item<double>(), 0.0);
}

TEST(Oft, SizesThatDoNotDivideAreTakenToTheNearestDivisor) {
  const auto shape = [](const std::string& options, const std::string& layer) {
    return adapt("oft", options).attachment->state().at(layer + ".oft_R.weight").sizes().vec();
  };
  using Shape = std::vector<int64_t>;
  std::ostringstream warnings;
  const LogToStream quiet(warnings);
  EXPECT_EQ(shape("", kQuery), Shape({2, 32 * 31 / 2}));
  EXPECT_EQ(shape("rank: 4", kQuery), Shape({4, 16 * 15 / 2}));
  EXPECT_EQ(shape("rank: 4\nblock_share: true", kDown), Shape({1, 24 * 23 / 2}));
  EXPECT_EQ(warnings.str(), "");
  EXPECT_EQ(shape("block_size: 9", kQuery), Shape({8, 28}));       // 8, not 16
  EXPECT_EQ(shape("block_size: 12", kQuery), Shape({8, 28}));      // 8 and 16 are as far: the smaller
  EXPECT_EQ(shape("block_size: 500", kQuery), Shape({1, 64 * 63 / 2}));
  EXPECT_THAT(warnings.str(), HasSubstr("oft takes 8 inputs a block"));
  EXPECT_THAT(testing::refusal("oft", "rank: 4\nblock_size: 8"), HasSubstr("one of the two"));
  EXPECT_THAT(testing::refusal("oft", "rank: 64"), HasSubstr("one input"));
  EXPECT_THAT(testing::refusal("oft", "num_cayley_neumann_terms: 1"), HasSubstr("num_cayley_neumann_terms"));
  EXPECT_THAT(testing::refusal("oft", "module_dropout: 1"), HasSubstr("module_dropout"));
}

TEST(Oft, ConstrainedRotationsStayNearTheStart) {
  const auto batch = testing::tiny_batch();
  const auto adapted = adapt("oft", "block_size: 8\ncoft: true\neps: 0.01");
  adapted.train(batch, 3, /*rate=*/10.0);
  for (const auto& [name, values] : adapted.trainable()) {
    const auto lengths = values.detach().norm(2, {1}) * std::sqrt(2.0);
    const double limit = 0.01 / std::sqrt(static_cast<double>(values.size(0)));
    EXPECT_LT(lengths.max().item<double>(), limit * 1.0001) << name;
    EXPECT_GT(lengths.max().item<double>(), limit * 0.5) << name;
  }
  // Values beyond the limit, as from a file, count as if they were shortened.
  adapted.disturb(3);
  const auto beyond = adapted.logits(batch);
  adapted.attachment->after_step(0);
  EXPECT_LT(testing::relative_error(adapted.logits(batch), beyond.to(at::kDouble)), 1e-5);
}

TEST(Oft, ModuleDropoutKeepsThatShareOfTheBlocksStill) {
  const auto adapted = adapt("oft", "block_size: 8\nmodule_dropout: 0.5");
  adapted.disturb(3);
  const auto& slot = testing::slot_of(adapted, kQuery);
  at::NoGradGuard no_gradient;
  // One input at a time: a still block's inputs give the base's outputs.
  int64_t still = 0;
  const auto x = at::eye(64);
  const auto difference = slot.forward(x, {.training = true, .dropout_seed = 5}) - frozen_linear(x, slot.base(), slot.bias());
  for (int64_t i = 0; i < 8; ++i) still += difference.narrow(0, 8 * i, 8).abs().max().item<double>() == 0;
  EXPECT_EQ(still, 4);
  EXPECT_FALSE(at::equal(slot.forward(x, {.training = true, .dropout_seed = 6}), slot.forward(x, {.training = true, .dropout_seed = 5})));
}

TEST(Oft, ResolvedOptionsAndFilesNameTheBlockSizeOrTheirNumber) {
  EXPECT_THAT(find_method("oft").resolved(testing::method_section("oft", "")), HasSubstr("block_size: 32"));
  const auto by_number = adapt("oft", "rank: 4").attachment->published_config();
  EXPECT_EQ(by_number.at("r"), 4);
  EXPECT_EQ(by_number.at("oft_block_size"), 0);
  EXPECT_THROW(find_method("oft").from_published({{"peft_type", "OFT"}, {"target_modules", {"q_proj"}}, {"fan_in_fan_out", true}}), InvalidArgument);
}

}  // namespace
}  // namespace graft::peft
