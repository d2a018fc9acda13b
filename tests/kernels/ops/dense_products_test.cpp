#include "kernels/ops/dense_products.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

namespace graft::ops {
namespace {

constexpr int64_t kBatch = 3, kRows = 37, kInner = 65, kColumns = 41;

/// A result in bf16 is rounded once, by 2^-8 of itself at most (8 bits, to the nearest); sums in fp32 of 65 terms, and what is left of terms that cancel, are far below the rest.
void expect_rounded_once(const at::Tensor& got, const at::Tensor& exact, at::ScalarType dtype) {
  EXPECT_EQ(got.scalar_type(), dtype);
  ASSERT_EQ(got.sizes(), exact.sizes());
  const double relative = dtype == at::kFloat ? 1e-6 : 0x1p-8, absolute = 1e-4;
  const auto excess = (got.to(at::kDouble) - exact).abs() - exact.abs() * relative;
  EXPECT_LE(excess.max().item<double>(), absolute);
}

class DenseProducts : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { at::manual_seed(5); }
  static at::Tensor normal(at::IntArrayRef sizes) { return at::randn(sizes).to(GetParam()); }
  static at::Tensor exact(const at::Tensor& x) { return x.to(at::kDouble); }
};

TEST_P(DenseProducts, AreThoseOfTheirNames) {
  const auto a = normal({kRows, kInner}), b = normal({kInner, kColumns}), sum = normal({kRows, kColumns});
  expect_rounded_once(ops::mm(a, b), at::mm(exact(a), exact(b)), GetParam());
  expect_rounded_once(ops::addmm(sum, a, b), at::addmm(exact(sum), exact(a), exact(b)), GetParam());
  const auto bias = normal({kColumns});
  expect_rounded_once(ops::linear(a, b.t(), bias), at::linear(exact(a), exact(b).t(), exact(bias)), GetParam());
  expect_rounded_once(ops::linear(a, b.t(), at::Tensor()), at::linear(exact(a), exact(b).t()), GetParam());
  const auto batch_a = normal({kBatch, kRows, kInner}), batch_b = normal({kBatch, kInner, kColumns}), sums = normal({kBatch, kRows, kColumns});
  expect_rounded_once(ops::bmm(batch_a, batch_b), at::bmm(exact(batch_a), exact(batch_b)), GetParam());
  expect_rounded_once(ops::baddbmm(sums, batch_a, batch_b), at::baddbmm(exact(sums), exact(batch_a), exact(batch_b)), GetParam());
}

TEST_P(DenseProducts, AddToWhatIsThere) {
  const auto a = normal({kRows, kInner}), b = normal({kInner, kColumns}), before = normal({kRows, kColumns});
  auto sum = before.clone();
  const void* memory = sum.data_ptr();
  ops::addmm_(sum, a, b, 0.5);
  EXPECT_EQ(sum.data_ptr(), memory);
  expect_rounded_once(sum, at::addmm(exact(before), exact(a), exact(b), 1, 0.5), GetParam());
}

TEST_P(DenseProducts, HaveTheGradientsOfTheProduct) {
  const auto a = normal({kRows, kInner}).requires_grad_(), b = normal({kInner, kColumns}).requires_grad_(), g = normal({kRows, kColumns});
  const auto gradients = torch::autograd::grad({ops::mm(a, b)}, {a, b}, {g});
  expect_rounded_once(gradients[0], at::mm(exact(g), exact(b.detach()).t()), GetParam());
  expect_rounded_once(gradients[1], at::mm(exact(a.detach()).t(), exact(g)), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Types, DenseProducts, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& dtype) { return dtype.param == at::kFloat ? "fp32" : "bf16"; });

}  // namespace
}  // namespace graft::ops
