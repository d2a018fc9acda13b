#include "kernels/rows/activation_rows.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/rows/rotary_rows.h"
#include "kernels/rows/rows_reference.h"
#include "tests/kernels/rows/row_buffers.h"

namespace graft::kernels {
namespace {

class ActivationRows : public RowKernels {};
GRAFT_EVERY_ROW_CASE(ActivationRows);

constexpr Gelu kForms[] = {Gelu::kExact, Gelu::kTanh, Gelu::kQuick};

std::vector<int64_t> flat_sizes() {
  auto sizes = row_sizes();
  for (const int64_t n : {16383, 16384, 16385, 40009}) sizes.push_back(n);
  return sizes;
}

TEST_P(ActivationRows, SwigluEqualsItsReference) {
  for (const int64_t n : flat_sizes()) {
    auto gate = Buffer::normal(type(), n, 1, 3.0f), up = Buffer::normal(type(), n, 2);
    Buffer tested(type(), n), expected(type(), n);
    swiglu_elements(type(), gate.data(), up.data(), n, tested.data());
    swiglu_elements_reference(type(), gate.data(), up.data(), n, expected.data());
    // exp 5u, then one addition, one reciprocal of 2u, two products.
    expect_close(tested, expected, within(expected, 16 * kUnit + unit()), std::to_string(n));
  }
}

TEST_P(ActivationRows, SwigluBackwardEqualsItsReference) {
  for (const int64_t n : flat_sizes()) {
    auto gate = Buffer::normal(type(), n, 1, 3.0f), up = Buffer::normal(type(), n, 2), g = Buffer::normal(type(), n, 3);
    Buffer dgate(type(), n), dup(type(), n), expected_dgate(type(), n), expected_dup(type(), n);
    swiglu_elements_backward(type(), g.data(), gate.data(), up.data(), n, dgate.data(), dup.data());
    swiglu_elements_backward_reference(type(), g.data(), gate.data(), up.data(), n, expected_dgate.data(), expected_dup.data());
    expect_close(dup, expected_dup, within(expected_dup, 16 * kUnit + unit()), "up " + std::to_string(n));
    // 1 + a (1 − s) may cancel; s (1 + |a|) stays below 1 + |a|.
    expect_close(dgate, expected_dgate, [&](int64_t i) {
      return unit() * std::abs(expected_dgate[i]) + 24 * kUnit * std::abs(g[i] * up[i]) * (1 + std::abs(gate[i]));
    }, "gate " + std::to_string(n));
  }
}

TEST_P(ActivationRows, SwigluOfHugeGatesIsTheGateOrNothing) {
  Buffer gate(type(), 4), up(type(), 4), product(type(), 4);
  const float gates[] = {1e4f, -1e4f, 300.0f, -300.0f};
  for (int64_t i = 0; i < 4; ++i) gate.set(i, gates[i]), up.set(i, 1.0f);
  swiglu_elements(type(), gate.data(), up.data(), 4, product.data());
  for (const int64_t i : {0, 2}) EXPECT_EQ(product[i], gate[i]);
  for (const int64_t i : {1, 3}) EXPECT_LT(std::abs(product[i]), 1e-30);
}

TEST_P(ActivationRows, GeluEqualsItsReference) {
  for (const Gelu form : kForms)
    for (const int64_t n : flat_sizes()) {
      auto x = Buffer::normal(type(), n, 1, 3.0f);
      Buffer tested(type(), n), expected(type(), n);
      gelu_elements(type(), form, x.data(), n, tested.data());
      gelu_elements_reference(type(), form, x.data(), n, expected.data());
      // Some 24 roundings, and exp's argument, as large as 1.7 |x| (1 + 0.045 x²) or x²/2, errs by 2u of itself, which comes out as a
      // relative error of the tail. Below exp(−87), 1.7e-38, the tail is cut.
      expect_close(tested, expected, [&](int64_t i) {
        const double size = std::abs(x[i]), argument = 2 * size * (1 + size / 4 + 0.05 * size * size);
        return (24 * kUnit + unit() + 2 * kUnit * argument) * std::abs(expected[i]) + 2e-38 * size;
      }, "form " + std::to_string(static_cast<int>(form)) + ", " + std::to_string(n));
    }
}

TEST_P(ActivationRows, GeluBackwardEqualsItsReference) {
  for (const Gelu form : kForms)
    for (const int64_t n : flat_sizes()) {
      auto x = Buffer::normal(type(), n, 1, 3.0f), g = Buffer::normal(type(), n, 2);
      Buffer tested(type(), n), expected(type(), n);
      gelu_elements_backward(type(), form, g.data(), x.data(), n, tested.data());
      gelu_elements_backward_reference(type(), form, g.data(), x.data(), n, expected.data());
      // Two terms that may cancel, both below 1 + |x|; 1 − s has the error of 1.
      expect_close(tested, expected, [&](int64_t i) {
        return unit() * std::abs(expected[i]) + 32 * kUnit * std::abs(g[i]) * (1 + std::abs(x[i]));
      }, "form " + std::to_string(static_cast<int>(form)) + ", " + std::to_string(n));
    }
}

TEST_P(ActivationRows, ExactGeluIsGoodInBothTails) {
  // x from −9 to 9: Φ falls to 1e-19 and its relative error stays that of exp(−x²/2), 5u + x²u, and some roundings.
  constexpr int64_t n = 36001;
  Buffer x(type(), n), tested(type(), n), expected(type(), n);
  for (int64_t i = 0; i < n; ++i) x.set(i, -9.0f + static_cast<float>(i) * 5e-4f);
  gelu_elements(type(), Gelu::kExact, x.data(), n, tested.data());
  gelu_elements_reference(type(), Gelu::kExact, x.data(), n, expected.data());
  expect_close(tested, expected,
               [&](int64_t i) { return ((20 + 2 * x[i] * x[i]) * kUnit + unit()) * std::abs(expected[i]); }, "tails");
}

TEST_P(ActivationRows, GeluOfHugeNumbersIsTheNumberOrNothing) {
  const float huge[] = {1e4f, -1e4f, 60.0f, -60.0f, 3e38f, -1e30f, std::numeric_limits<float>::infinity()};
  for (const Gelu form : kForms) {
    Buffer x(type(), 7), y(type(), 7), dx(type(), 7), ones(type(), 7);
    for (int64_t i = 0; i < 7; ++i) x.set(i, huge[i]), ones.set(i, 1.0f);
    gelu_elements(type(), form, x.data(), 7, y.data());
    gelu_elements_backward(type(), form, ones.data(), x.data(), 6, dx.data());
    for (const int64_t i : {0, 2, 4, 6}) EXPECT_EQ(y[i], x[i]);
    for (const int64_t i : {1, 3, 5}) EXPECT_LE(std::abs(y[i]), 2e-38 * std::abs(x[i]));
    for (const int64_t i : {0, 2, 4}) EXPECT_NEAR(dx[i], 1.0, 1e-6);
    for (const int64_t i : {1, 3, 5}) EXPECT_NEAR(dx[i], 0.0, 1e-6);
  }
}

TEST_P(ActivationRows, NotANumberIsNotSwallowed) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t place : {0, 7, 36}) {
    auto gate = Buffer::normal(type(), 37, 1), up = gate;
    gate.set(place, nan);
    swiglu_elements(type(), gate.data(), up.data(), 37, up.data());
    EXPECT_TRUE(std::isnan(up[place]));
    for (const Gelu form : kForms) {
      Buffer y(type(), 37);
      gelu_elements(type(), form, gate.data(), 37, y.data());
      for (int64_t i = 0; i < 37; ++i) EXPECT_EQ(std::isnan(y[i]), i == place);
      gelu_elements_backward(type(), form, up.data(), gate.data(), 37, y.data());
      EXPECT_TRUE(std::isnan(y[place]));
    }
  }
}

TEST_P(ActivationRows, RotaryEqualsItsReferenceAndTurnsBack) {
  for (const int64_t tokens : {0, 1, 5, 131})
    for (const int64_t heads : {1, 3})
      for (const int64_t width : {2, 6, 64, 96, 130}) {
        const int64_t n = tokens * heads * width;
        auto x = Buffer::normal(type(), n, 1), angle = Buffer::normal(Element::kFloat32, tokens * width / 2, 2, 10.0f);
        auto cosine = angle, sine = angle;
        for (int64_t i = 0; i < angle.size(); ++i)
          cosine.set(i, static_cast<float>(std::cos(angle[i]))), sine.set(i, static_cast<float>(std::sin(angle[i])));
        Buffer tested(type(), n), expected(type(), n), back(type(), n);
        rotate_halves_rows(type(), x.data(), cosine.floats(), sine.floats(), 1.0f, tokens, heads, width, tested.data());
        rotate_halves_rows_reference(type(), x.data(), cosine.floats(), sine.floats(), 1.0f, tokens, heads, width, expected.data());
        // Two products and a sum of numbers below 6 (N(0, 1) at these sizes): 3u of 12.
        expect_close(tested, expected, within(expected, unit(), 36 * kUnit), "forward");
        rotate_halves_rows(type(), tested.data(), cosine.floats(), sine.floats(), -1.0f, tokens, heads, width, back.data());
        // Back again: the first result's rounding (of numbers below 9) comes through both terms, then one more of x.
        expect_close(back, x, [&](int64_t) { return 3 * 9 * unit(); }, "back");
        rotate_halves_rows(type(), x.data(), cosine.floats(), sine.floats(), 1.0f, tokens, heads, width, x.data());
        EXPECT_TRUE(x == tested) << "in place";
      }
}

}  // namespace
}  // namespace graft::kernels
