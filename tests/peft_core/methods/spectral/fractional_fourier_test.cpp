#include "peft_core/methods/spectral/fractional_fourier.h"

#include <gtest/gtest.h>

#include <numbers>

#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

constexpr double kPi = std::numbers::pi;

at::Tensor order(double a) { return at::full({1}, a, at::kDouble); }
at::Tensor centred(int64_t d) { return at::arange(-(d / 2), d / 2, at::kDouble); }
at::Tensor complex_noise(int64_t d) { return at::complex(at::randn({d}, at::kDouble), at::randn({d}, at::kDouble)); }
double distance(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }
at::Tensor matrix(double a, int64_t d) { return fractional_fourier(at::eye(d, at::kDouble), order(a)); }

/// The centred unitary DFT from its definition.
at::Tensor dft_matrix(int64_t d) {
  const auto phase = at::outer(centred(d), centred(d)) * (-2 * kPi / static_cast<double>(d));
  return at::polar(at::ones_like(phase), phase) / std::sqrt(static_cast<double>(d));
}

/// The exact transform, O(d³): eigenvectors of the matrix that commutes with the DFT, even and odd ones apart (Candan's construction).
at::Tensor exact_matrix(double a, int64_t d) {
  auto commuting = at::diag(at::cos(centred(d) * (2 * kPi / static_cast<double>(d))) * 2 - 4);
  for (int64_t i = 0; i < d; ++i) commuting[i][(i + 1) % d] += 1, commuting[(i + 1) % d][i] += 1;
  const auto mirror = at::eye(d, at::kDouble).index_select(0, (d - at::arange(d, at::kLong)).remainder(d));
  auto transform = at::zeros({d, d}, at::kComplexDouble);
  for (const int64_t parity : {0, 1}) {
    // An orthonormal basis of the even or odd signals, then the matrix on it; indices 0 2 4 .. or 1 3 5 .. by falling eigenvalue.
    const auto projector = (at::eye(d, at::kDouble) + mirror * (parity == 0 ? 1 : -1)) / 2;
    const auto [values, vectors] = at::linalg_eigh(projector);
    const auto basis = vectors.masked_select((values > 0.5).unsqueeze(0).expand_as(vectors)).view({d, -1});
    const auto [inner_values, inner] = at::linalg_eigh(at::mm(basis.t(), at::mm(commuting, basis)));
    const auto sorted = at::mm(basis, inner).flip({1});
    for (int64_t j = 0; j < sorted.size(1); ++j) {
      int64_t index = 2 * j + parity;
      if (parity == 0 && j == sorted.size(1) - 1) index = d;  // for even d there is no index d − 1
      const double phase = -kPi * static_cast<double>(index) * a / 2;
      transform += at::outer(sorted.select(1, j), sorted.select(1, j)) * c10::complex<double>(std::cos(phase), std::sin(phase));
    }
  }
  return transform;
}

TEST(FractionalFourier, OrderZeroIsTheIdentityAndOrderOneTheUnitaryDft) {
  for (const int64_t d : {2, 4, 6, 8, 64, 94, 576, 1536}) {
    const auto x = complex_noise(d);
    EXPECT_LT(distance(fractional_fourier(x, order(0)), x), 1e-13) << d;
    // t and q are 1, so phases up to π d / 4 are rounded to 1e-16 of themselves.
    EXPECT_LT(distance(fractional_fourier(x, order(1)), at::mv(dft_matrix(d), x)), 1e-12 * std::sqrt(static_cast<double>(d))) << d;
    EXPECT_LT(distance(centred_dft(x), at::mv(dft_matrix(d), x)), 1e-12 * std::sqrt(static_cast<double>(d))) << d;
  }
}

TEST(FractionalFourier, KeepsEnergyAndIsUndoneByTheOppositeOrder) {
  for (const auto type : {at::kDouble, at::kFloat})
    for (const int64_t d : {2, 64, 576})
      for (const double a : {-1.7, -1.0, -0.3, 0.05, 0.5, 0.77, 1.0, 1.5}) {
        const double tolerance = type == at::kDouble ? 1e-12 : 1e-5;
        const auto x = at::randn({3, d}, type);
        const auto turned = fractional_fourier(x, order(a));
        EXPECT_EQ(turned.scalar_type(), at::toComplexType(type));
        const auto before = x.square().sum({1}), after = turned.abs().square().sum({1});
        EXPECT_LT(((after - before) / before).abs().max().item<double>(), tolerance) << a;
        EXPECT_LT(distance(fractional_fourier(turned, order(-a)), x), 10 * tolerance) << a;
      }
}

TEST(FractionalFourier, MatrixIsUnitaryAndSymmetric) {
  for (const double a : {0.2, 0.7, 1.3}) {
    const auto f = matrix(a, 30);
    EXPECT_LT(distance(at::mm(f, f.conj().t()), at::eye(30, at::kComplexDouble)), 1e-13);
    EXPECT_LT(distance(f, f.t()), 1e-13);  // the adapters turn their factors' rows with it
    EXPECT_LT(distance(matrix(-a, 30), f.conj().t()), 1e-13);
  }
}

TEST(FractionalFourier, OrdersAddOnGaussiansWhichAreFixedPoints) {
  constexpr int64_t d = 64;
  const auto n = centred(d);
  const auto gaussian = at::exp(n.square() * (-kPi / d)), moved = at::exp((n - 3).square() * (-kPi / d));
  for (const double a : {0.1, 0.35, 0.55}) {
    EXPECT_LT(distance(fractional_fourier(gaussian, order(a)), gaussian), 1e-9) << a;
    for (const double b : {0.05, 0.4}) {
      const auto twice = fractional_fourier(fractional_fourier(moved, order(a)), order(b));
      EXPECT_LT(distance(twice, fractional_fourier(moved, order(a + b))), 1e-8) << a << " " << b;
    }
  }
}

TEST(FractionalFourier, OrdersOfTheExactTransformAddAndItMeetsTheQuickOneOnGaussians) {
  constexpr int64_t d = 64;
  EXPECT_LT(distance(exact_matrix(1, d), dft_matrix(d)), 1e-10);
  EXPECT_LT(distance(exact_matrix(0, d), at::eye(d, at::kComplexDouble)), 1e-12);
  EXPECT_LT(distance(at::mm(exact_matrix(0.3, d), exact_matrix(0.45, d)), exact_matrix(0.75, d)), 1e-11);
  const auto moved = at::exp((centred(d) - 3).square() * (-kPi / d)).to(at::kComplexDouble);
  for (const double a : {0.25, 0.5, 0.8})  // both discretise one transform; they differ by a part of 1 / d
    EXPECT_LT(distance(fractional_fourier(moved, order(a)), at::mv(exact_matrix(a, d), moved)), 2.0 / d) << a;
}

TEST(FractionalFourier, GradientsInOrderAndSignalAreThoseOfCentralDifferences) {
  at::manual_seed(2);
  const auto real_part = [](const testing::Tensors& in) {
    const auto y = fractional_fourier(in[0], in[1]);
    return at::cat({at::real(y), at::imag(y)}, -1);
  };
  // The order's gradient holds phases times π d / 4, and its third derivative that to the power of three: with h = 1e-5 some 1e-6 of it.
  const testing::Tensors inputs = {at::randn({3, 2, 16}, at::kDouble).requires_grad_(),
                                   at::tensor({0.1, 0.5, 0.9}, at::kDouble).view({3, 1, 1}).requires_grad_()};
  EXPECT_LT(testing::central_difference_error(real_part, inputs), 1e-6);
}

TEST(FractionalFourier, EachRowMayHaveItsOwnOrder) {
  const auto x = at::randn({3, 2, 10}, at::kDouble), orders = at::tensor({0.0, 0.4, 1.0}, at::kDouble);
  const auto together = fractional_fourier(x, orders.view({3, 1, 1}));
  for (int64_t e = 0; e < 3; ++e) EXPECT_LT(distance(together[e], fractional_fourier(x[e], order(orders[e].item<double>()))), 1e-14);
}

}  // namespace
}  // namespace graft::peft
