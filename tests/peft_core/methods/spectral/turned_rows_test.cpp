#include "peft_core/methods/spectral/turned_rows.h"

#include <gtest/gtest.h>

#include <cmath>

#include "peft_core/methods/spectral/fractional_fourier.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

at::Tensor plain_parts(const at::Tensor& x, const at::Tensor& order) {
  const auto y = fractional_fourier(x, order.view({-1, 1, 1}));
  return at::cat({at::real(y), at::imag(y)}, 1);
}

double distance(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST(TurnedRows, AreThePartsOfTheFractionalTransform) {
  at::manual_seed(3);
  for (const auto type : {at::kDouble, at::kFloat})
    for (const int64_t d : {2, 6, 64, 94, 576}) {
      const auto x = at::randn({4, 3, d}, type), order = at::tensor({0.0, 0.02, 0.6, 1.0}, at::kDouble);
      // Three products and two transforms of log2 d steps, each rounded once; values of size 1.
      const double tolerance = (type == at::kDouble ? 1e-16 : 6e-8) * 8 * (3 + 2 * std::log2(static_cast<double>(d)));
      const auto parts = turned_rows(x, order);
      EXPECT_EQ(parts.scalar_type(), type);
      EXPECT_LT(distance(parts, plain_parts(x, order)), tolerance) << d;
    }
}

TEST(TurnedRows, OfTheOppositeOrderAreTheConjugate) {
  const auto x = at::randn({2, 3, 10}, at::kDouble), order = at::tensor({0.3, 0.8}, at::kDouble);
  const auto turned = turned_rows(x, order), back = turned_rows(x, -order);
  EXPECT_LT(distance(turned.narrow(1, 0, 3), back.narrow(1, 0, 3)), 1e-14);
  EXPECT_LT(distance(turned.narrow(1, 3, 3), -back.narrow(1, 3, 3)), 1e-14);
}

TEST(TurnedRows, TakesFactorsThatLieTransposed) {
  const auto b = at::randn({2, 10, 3}, at::kDouble), order = at::tensor({0.3, 0.8}, at::kDouble);
  EXPECT_EQ(distance(turned_rows(b.transpose(1, 2), order), turned_rows(b.transpose(1, 2).contiguous(), order)), 0);
}

TEST(TurnedRows, GradientsAreThoseOfCentralDifferencesAndOfThePlainForm) {
  at::manual_seed(4);
  const testing::Tensors inputs = {at::randn({3, 2, 16}, at::kDouble).requires_grad_(), at::tensor({0.1, 0.5, 0.9}, at::kDouble).requires_grad_()};
  // As for fractional_fourier: the order's third derivative holds (16 π / 4)³, h² = 1e-10 of which is below 1e-6.
  EXPECT_LT(testing::central_difference_error([](const testing::Tensors& in) { return turned_rows(in[0], in[1]); }, inputs), 1e-6);

  const auto g = at::randn({3, 4, 16}, at::kDouble);
  const auto gradients = [&](const at::Tensor& y) { return torch::autograd::grad({y}, {inputs[0], inputs[1]}, {g}); };
  const auto ours = gradients(turned_rows(inputs[0], inputs[1])), plain = gradients(plain_parts(inputs[0], inputs[1]));
  EXPECT_LT(distance(ours[0], plain[0]), 1e-13);
  EXPECT_LT(distance(ours[1], plain[1]), 1e-11);
}

TEST(TurnedRows, GradientOfTheOrderAlone) {
  const auto x = at::randn({1, 2, 8}, at::kDouble), order = at::tensor({0.4}, at::kDouble).requires_grad_();
  turned_rows(x, order).select(1, 0).sum().backward();
  const auto sum = [&](double a) { return turned_rows(x, at::tensor({a}, at::kDouble)).select(1, 0).sum().item<double>(); };
  EXPECT_NEAR(order.grad().item<double>(), (sum(0.4 + 1e-6) - sum(0.4 - 1e-6)) / 2e-6, 1e-7);
}

}  // namespace
}  // namespace graft::peft
