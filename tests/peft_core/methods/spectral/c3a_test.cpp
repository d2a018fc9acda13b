#include "peft_core/methods/spectral/c3a.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "peft_core/methods/spectral/circulant.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::compare_with_float64;
using testing::relative_error;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// The header's formula, element by element, in the type of w.
at::Tensor matrix_of(const at::Tensor& w) {
  const int64_t m = w.size(0), n = w.size(1), b = w.size(2);
  const auto k = at::arange(b, at::kLong).unsqueeze(1), l = at::arange(b, at::kLong).unsqueeze(0);
  return w.index_select(2, (l - k).remainder(b).flatten()).view({m, n, b, b}).permute({0, 2, 1, 3}).reshape({m * b, n * b});
}

const std::vector<std::vector<int64_t>> kShapes = {{1, 1, 1}, {2, 3, 1}, {1, 1, 7}, {3, 2, 8}, {2, 5, 31}, {1, 4, 64}};

TEST(Circulant, MatrixIsTheFormulaWithItsGradient) {
  for (const auto& shape : kShapes) {
    at::manual_seed(1);
    const auto errors = compare_with_float64([](const auto& v) { return block_circulant(v[0]); }, [](const auto& v) { return matrix_of(v[0]); },
                                             {at::randn(shape).requires_grad_()});
    EXPECT_EQ(errors.output, 0.0) << at::IntArrayRef(shape);
    EXPECT_LT(errors.worst(), 64 * 0x1p-24) << at::IntArrayRef(shape);  // a sum of b upstream values
  }
}

TEST(Circulant, ProductByTransformsIsThatOfTheMatrixWithItsGradients) {
  for (const auto& shape : kShapes) {
    at::manual_seed(1);
    const auto errors = compare_with_float64([](const auto& v) { return block_circular_product(v[0], v[1]); },
                                             [](const auto& v) { return at::mm(v[0], matrix_of(v[1]).t()); },
                                             {at::randn({5, shape[1] * shape[2]}).requires_grad_(), at::randn(shape).requires_grad_()});
    EXPECT_LT(errors.worst(), 128 * 0x1p-24) << at::IntArrayRef(shape);  // some ten steps of a transform, and sums of up to 5 blocks
  }
}

// Two rows go by transforms, 40 by the matrix.
TEST(C3a, OutputAndGradientsAreThoseOfTheFormulaOnBothWays) {
  for (const int64_t rows : {2, 40}) {
    const auto adapted = adapt("c3a", "targets: [q_proj]\nblock_size: 16\ninit: gaussian");
    const auto& slot = *adapted.model->places().linears.front();
    const auto w = adapted.attachment->state().at(slot.name() + ".c3a_kernel");
    ASSERT_EQ(w.sizes(), (std::vector<int64_t>{4, 4, 16}));
    const auto exact_w = w.detach().to(at::kDouble).requires_grad_();
    at::manual_seed(1);
    const auto x = at::randn({rows, 64}).requires_grad_(), g = at::randn({rows, 64});
    const auto exact_x = x.detach().to(at::kDouble).requires_grad_();
    const auto weight = slot.base()->weight().to(at::kDouble) + matrix_of(exact_w) / 64;
    const auto expected = at::mm(exact_x, weight.t()) + slot.bias().to(at::kDouble);
    torch::autograd::backward({expected}, {g.to(at::kDouble)});

    const auto y = slot.forward(x, {});
    torch::autograd::backward({y}, {g});
    constexpr double kTolerance = 2 * 64 * 0x1p-24;  // sums of 64 terms in fp32
    EXPECT_LT(relative_error(y, expected), kTolerance) << rows;
    EXPECT_LT(relative_error(x.grad(), exact_x.grad()), kTolerance) << rows;
    EXPECT_LT(relative_error(w.grad(), exact_w.grad()), kTolerance) << rows;
  }
}

TEST(C3a, ALayerTakesTheLargestBlockThatDividesItsSides) {
  const auto adapted = adapt("c3a");
  const auto published = adapted.attachment->published_config();
  EXPECT_EQ(published.at("block_size"), 256);
  for (const auto* slot : adapted.model->places().linears) {
    const auto w = adapted.attachment->state().at(slot->name() + ".c3a_kernel");
    const auto b = std::gcd(slot->base()->in_features(), slot->base()->out_features());  // below 256 in this model
    EXPECT_EQ(w.size(2), b);
    EXPECT_EQ(w.size(0) * b, slot->base()->out_features());
    EXPECT_EQ(published.at("block_size_pattern").at(slot->name()), b);  // PEFT needs to be told
  }
  const auto small = adapt("c3a", "block_size: 20\ntargets: [q_proj]");
  EXPECT_EQ(small.trainable().front().second.size(2), 16);
  const auto pattern = adapt("c3a", "block_size: 8\nblock_size_pattern: {1.self_attn.q_proj: 32}\ntargets: [q_proj]");
  EXPECT_EQ(pattern.trainable().at(0).second.size(2), 8);
  EXPECT_EQ(pattern.trainable().at(1).second.size(2), 32);
}

TEST(C3a, SizesThatDoNotFitAreRefused) {
  EXPECT_THAT(testing::refusal("c3a", "block_size: 0"), HasSubstr("method.block_size"));
  EXPECT_THAT(testing::refusal("c3a", "block_size_pattern: {no_such: 4}"), HasSubstr("no_such"));
  // Below 8 a block is given only where it was asked for.
  EXPECT_EQ(adapt("c3a", "block_size: 4\ntargets: [q_proj]").trainable().front().second.size(2), 4);
}

TEST(C3a, RandomStartsHaveTheirSizes) {
  const auto largest = [](const std::string& init) {
    return adapt("c3a", "init: " + init + "\nblock_size: 1\ntargets: [q_proj]").trainable().front().second.abs().max().item<double>();
  };
  // 4096 uniform values come within a thousandth of their bound but for one chance in sixty.
  EXPECT_NEAR(largest("xavier_uniform"), std::sqrt(6.0 / 128), 1e-3 * std::sqrt(6.0 / 128));
  EXPECT_NEAR(largest("kaiming_uniform"), 1.0 / 8, 1e-3 / 8);
  EXPECT_GT(largest("gaussian"), 2.5);
  EXPECT_EQ(largest("zero"), 0.0);
}

}  // namespace
}  // namespace graft::peft
