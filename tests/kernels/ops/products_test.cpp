#include "kernels/ops/products.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace graft::ops {
namespace {

at::Tensor normal(at::IntArrayRef sizes, at::ScalarType dtype, double scale = 1.0) { return (at::randn(sizes) * scale).to(dtype); }

double relative_error(const at::Tensor& got, const at::Tensor& exact) {
  return (got.to(at::kDouble) - exact).norm().item<double>() / std::max(exact.norm().item<double>(), 1e-30);
}

/// bf16 rounds inputs of the products (factors) and the result to 2^-9 of itself each; fp32 leaves sums of a few hundred terms.
double tolerance(at::ScalarType dtype) { return dtype == at::kFloat ? 1e-5 : 6e-3; }

class Products : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { at::manual_seed(11); }
  at::ScalarType dtype() const { return GetParam(); }
  static at::Tensor exact(const at::Tensor& t) { return t.to(at::kDouble); }
};

struct Shape {
  int64_t rows, in, out, rank;
};
constexpr Shape kShapes[] = {{1, 64, 32, 1}, {5, 33, 97, 8}, {64, 576, 192, 16}, {130, 100, 576, 16}, {257, 1536, 576, 33}};

TEST_P(Products, NarrowProductTakesFactorsOfAnyStrides) {
  for (const auto& [rows, in, out, rank] : kShapes) {
    const auto x = normal({rows, in}, dtype());
    const auto a = normal({rank, in}, at::kFloat), b = normal({in, rank}, at::kFloat);
    EXPECT_LT(relative_error(narrow_product(x, a), at::mm(exact(x), exact(a).t())), tolerance(dtype())) << rows << " x " << in;
    EXPECT_LT(relative_error(narrow_product(x, b.t(), 0.5), at::mm(exact(x), exact(b)) * 0.5), tolerance(dtype())) << rows << " x " << in;
    const auto wide = normal({rows, in + 7}, dtype()).narrow(1, 3, in);
    EXPECT_LT(relative_error(narrow_product(wide, a), at::mm(exact(wide), exact(a).t())), tolerance(dtype())) << rows << " x " << in;
  }
}

TEST_P(Products, FactorGradientsAreTheTransposedProducts) {
  for (const auto& [rows, in, out, rank] : kShapes) {
    const auto narrow = normal({rows, rank}, dtype()), wide = normal({rows, in}, dtype());
    const auto expected = at::mm(exact(narrow).t(), exact(wide)) * 0.25;
    EXPECT_EQ(factor_gradient(narrow, wide).scalar_type(), at::kFloat);
    EXPECT_LT(relative_error(factor_gradient(narrow, wide, 0.25), expected), tolerance(dtype())) << rows << " x " << in << " r " << rank;
    EXPECT_LT(relative_error(factor_gradient_transposed(narrow, wide, 0.25), expected.t()), tolerance(dtype())) << rows << " x " << in;
  }
}

TEST_P(Products, PackedProductsAddTheirTerms) {
  for (const auto& [rows, in, out, rank] : kShapes) {
    const auto x = normal({rows, in}, dtype()), g = normal({rows, out}, dtype());
    if (!runs_on_tiles(x)) GTEST_SKIP() << "no matrix units for " << dtype() << " here";
    const auto weight = normal({out, in}, dtype());
    auto forward = at::empty({packed_size(out, in, Side::kForward)}, dtype());
    auto backward = at::empty({packed_size(out, in, Side::kBackward)}, dtype());
    for (int64_t first = 0; first < out; first += 64) {
      const auto part = weight.narrow(0, first, std::min<int64_t>(64, out - first));
      pack_rows(part, first, out, Side::kForward, forward);
      pack_rows(part, first, out, Side::kBackward, backward);
    }
    const ProductTerms terms{.bias = normal({out}, at::kFloat), .down = normal({rows, rank}, dtype()), .up = normal({out, rank}, at::kFloat),
                             .scale = 0.5};
    const auto y = at::mm(exact(x), exact(weight).t());
    const auto sum = y + exact(terms.bias) + at::mm(exact(terms.down), exact(terms.up).t()) * 0.5;
    EXPECT_LT(relative_error(packed_product(x, forward, out, {}), y), tolerance(dtype()));
    EXPECT_LT(relative_error(packed_product(x, forward, out, terms), sum), tolerance(dtype())) << rows << " " << in << " " << out << " " << rank;
    const ProductTerms back{.down = normal({rows, rank}, dtype()), .up = normal({rank, in}, at::kFloat).t()};
    const auto dx = at::mm(exact(g), exact(weight)) + at::mm(exact(back.down), exact(back.up).t());
    EXPECT_LT(relative_error(packed_product(g, backward, in, back), dx), tolerance(dtype())) << rows << " " << in << " " << out << " " << rank;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Products, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& type) { return type.param == at::kFloat ? "fp32" : "bf16"; });

}  // namespace
}  // namespace graft::ops
