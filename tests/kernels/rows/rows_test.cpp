#include "kernels/rows/rows.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <array>

#include "kernels/rows/attention_rows.h"
#include "kernels/rows/rows_reference.h"
#include "tests/kernels/rows/row_buffers.h"

// What holds for all row kernels: threads, and the gradients of the references that the kernels are held against.
namespace graft::kernels {
namespace {

class AllRows : public RowKernels {};
GRAFT_EVERY_ROW_CASE(AllRows);

/// Every kernel once, at sizes that are shared between threads.
std::vector<Buffer> everything(Element type) {
  constexpr int64_t rows = 67, n = 577;
  const auto x = Buffer::normal(type, rows * n, 1), g = Buffer::normal(type, rows * n, 2);
  auto from = x, gradient = g, beside = Buffer::normal(type, rows * n, 3);
  auto weight = Buffer::normal(Element::kFloat32, n, 4), bias = Buffer::normal(Element::kFloat32, n, 5);
  std::vector<Buffer> results;
  const auto matrix = [&]() -> void* { return results.emplace_back(type, rows * n).data(); };
  const auto floats = [&](int64_t count) { return results.emplace_back(Element::kFloat32, count).floats(); };

  float* inverse = floats(rows);
  rms_norm_rows(type, from.data(), weight.floats(), 1e-5f, rows, n, matrix(), inverse);
  const std::array<const void*, 2> gradients{gradient.data(), beside.data()};
  rms_norm_rows_backward(type, {.rows = rows, .n = n, .g = gradients, .beside = beside.data(), .x = from.data(), .weight = weight.floats(),
                                .inverse_rms = inverse, .dx = matrix(), .dweight = floats(n)});
  void* sum = matrix();
  add_rms_norm_rows(type, from.data(), beside.data(), weight.floats(), 1e-5f, rows, n, sum, matrix(), floats(rows));
  float *mean = floats(rows), *inverse_std = floats(rows);
  layer_norm_rows(type, from.data(), weight.floats(), bias.floats(), 1e-5f, rows, n, matrix(), mean, inverse_std);
  layer_norm_rows_backward(type, gradient.data(), from.data(), weight.floats(), mean, inverse_std, rows, n, matrix(), floats(n), floats(n));

  swiglu_elements(type, from.data(), beside.data(), rows * n, matrix());
  swiglu_elements_backward(type, gradient.data(), from.data(), beside.data(), rows * n, matrix(), matrix());
  for (const Gelu form : {Gelu::kExact, Gelu::kTanh, Gelu::kQuick}) {
    gelu_elements(type, form, from.data(), rows * n, matrix());
    gelu_elements_backward(type, form, gradient.data(), from.data(), rows * n, matrix());
  }
  rotate_halves_rows(type, from.data(), weight.floats(), weight.floats(), 1.0f, 8, 67, 64, matrix());

  const AttentionBlock block{.groups = 3, .queries = 67, .keys = 192, .first_position = 125, .causal = true, .scale = 0.5f};
  float* lse = floats(3 * 67);
  results.push_back(x);
  softmax_rows(type, block, results.back().data(), lse);
  results.push_back(x);
  softmax_rows_backward(type, block, lse, lse, results.back().data(), gradient.data());
  results.push_back(gradient);

  const std::vector<int64_t> targets(static_cast<size_t>(rows), 9);
  float* rescale = floats(rows);
  results.push_back(x);
  void* logits = results.back().data();
  absorb_logits(type, {.rows = rows, .count = n, .stride = n, .first = 0}, logits, targets.data(),
                {floats(rows), floats(rows), floats(rows)}, rescale);
  rescale_and_add(type, from.data(), rescale, rows, n, floats(rows * n));
  return results;
}

TEST_P(AllRows, ResultsAreTheSameForAnyNumberOfThreadsAndRunToRun) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto one = everything(type());
  for (const int threads : {2, 2, 3}) {
    omp_set_num_threads(threads);
    const auto other = everything(type());
    ASSERT_EQ(other.size(), one.size());
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i] == other[i]) << "result " << i << ", " << threads << " threads";
  }
  omp_set_num_threads(before);
}

// Gradients of the references. They compute in double and round once into fp32, so a central difference of fourth order,
// (8 (f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h with h = 2^-5, errs by h⁴/30 · f⁗′, below 1e-6 for these functions, and by 1.5/h roundings
// of fp32 numbers of size 4: 1e-5 for a sum of 16 outputs.
constexpr double kStep = 0x1p-5;
constexpr double kDifferenceError = 5e-5;

/// d/dx[i] of Σ g · forward(x) for every i, beside `expected`.
void expect_gradient(Buffer x, const Buffer& g, const std::function<Buffer(Buffer&)>& forward, const Buffer& expected,
                     const std::string& what) {
  for (int64_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    const auto loss = [&](double offset) {
      x.set(i, static_cast<float>(at + offset));
      const Buffer y = forward(x);
      double sum = 0;
      for (int64_t k = 0; k < y.size(); ++k) sum += g[k] * y[k];
      return sum;
    };
    const double slope = (8 * (loss(kStep) - loss(-kStep)) - (loss(2 * kStep) - loss(-2 * kStep))) / (12 * kStep);
    x.set(i, static_cast<float>(at));
    EXPECT_NEAR(slope, expected[i], kDifferenceError * (1 + std::abs(expected[i]))) << what << ", " << i;
  }
}

/// Multiples of 2^-8, so that x ± h is exact.
Buffer grid(int64_t n, uint32_t seed) {
  auto x = Buffer::normal(Element::kFloat32, n, seed);
  for (int64_t i = 0; i < n; ++i) x.set(i, static_cast<float>(std::round(x[i] * 256) / 256));
  return x;
}

constexpr Element kSingle = Element::kFloat32;
constexpr int64_t kRows = 2, kWidth = 8, kCount = kRows * kWidth;

TEST(RowReferences, GradientsOfTheRmsNormAreThoseOfDifferences) {
  auto x = grid(kCount, 1), g = grid(kCount, 2), beside = grid(kCount, 3), weight = grid(kWidth, 4);
  Buffer y(kSingle, kCount), inverse(kSingle, kRows), dx(kSingle, kCount), joined(kSingle, kCount), dweight(kSingle, kWidth);
  const auto forward = [&](Buffer& at, Buffer& w) {
    Buffer out(kSingle, kCount), norms(kSingle, kRows);
    rms_norm_rows_reference(kSingle, at.data(), w.floats(), 1e-2f, kRows, kWidth, out.data(), norms.floats());
    return out;
  };
  rms_norm_rows_reference(kSingle, x.data(), weight.floats(), 1e-2f, kRows, kWidth, y.data(), inverse.floats());
  const std::array<const void*, 1> gradient{g.data()};
  RmsNormBackward norm{.rows = kRows, .n = kWidth, .g = gradient, .x = x.data(), .weight = weight.floats(), .inverse_rms = inverse.floats(),
                       .dx = dx.data(), .dweight = dweight.floats()};
  rms_norm_rows_backward_reference(kSingle, norm);
  expect_gradient(x, g, [&](Buffer& at) { return forward(at, weight); }, dx, "x");
  expect_gradient(weight, g, [&](Buffer& w) { return forward(x, w); }, dweight, "weight");
  const std::array<const void*, 2> twice{g.data(), g.data()};
  norm.g = twice, norm.beside = beside.data(), norm.dx = joined.data(), norm.dweight = nullptr;
  rms_norm_rows_backward_reference(kSingle, norm);
  for (int64_t i = 0; i < kCount; ++i) EXPECT_NEAR(joined[i], 2 * dx[i] + beside[i], 4 * kUnit * (2 * std::abs(dx[i]) + std::abs(beside[i])));
}

TEST(RowReferences, GradientsOfTheLayerNormAreThoseOfDifferences) {
  auto x = grid(kCount, 1), g = grid(kCount, 2), weight = grid(kWidth, 4), bias = grid(kWidth, 5);
  Buffer y(kSingle, kCount), mean(kSingle, kRows), inverse = mean, dx(kSingle, kCount), dweight(kSingle, kWidth), dbias = dweight;
  const auto forward = [&](Buffer& at, Buffer& w, Buffer& b) {
    Buffer out(kSingle, kCount), means(kSingle, kRows), norms(kSingle, kRows);
    layer_norm_rows_reference(kSingle, at.data(), w.floats(), b.floats(), 1e-2f, kRows, kWidth, out.data(), means.floats(), norms.floats());
    return out;
  };
  layer_norm_rows_reference(kSingle, x.data(), weight.floats(), bias.floats(), 1e-2f, kRows, kWidth, y.data(), mean.floats(), inverse.floats());
  layer_norm_rows_backward_reference(kSingle, g.data(), x.data(), weight.floats(), mean.floats(), inverse.floats(), kRows, kWidth,
                                     dx.data(), dweight.floats(), dbias.floats());
  expect_gradient(x, g, [&](Buffer& at) { return forward(at, weight, bias); }, dx, "x");
  expect_gradient(weight, g, [&](Buffer& w) { return forward(x, w, bias); }, dweight, "weight");
  expect_gradient(bias, g, [&](Buffer& b) { return forward(x, weight, b); }, dbias, "bias");
}

TEST(RowReferences, GradientsOfActivationsAreThoseOfDifferences) {
  auto gate = grid(kCount, 1), up = grid(kCount, 2), g = grid(kCount, 3);
  Buffer dgate(kSingle, kCount), dup = dgate, dx = dgate;
  const auto product = [&](Buffer& a, Buffer& b) {
    Buffer out(kSingle, kCount);
    swiglu_elements_reference(kSingle, a.data(), b.data(), kCount, out.data());
    return out;
  };
  swiglu_elements_backward_reference(kSingle, g.data(), gate.data(), up.data(), kCount, dgate.data(), dup.data());
  expect_gradient(gate, g, [&](Buffer& a) { return product(a, up); }, dgate, "gate");
  expect_gradient(up, g, [&](Buffer& b) { return product(gate, b); }, dup, "up");
  for (const Gelu form : {Gelu::kExact, Gelu::kTanh, Gelu::kQuick}) {
    gelu_elements_backward_reference(kSingle, form, g.data(), gate.data(), kCount, dx.data());
    expect_gradient(gate, g, [&](Buffer& x) {
      Buffer out(kSingle, kCount);
      gelu_elements_reference(kSingle, form, x.data(), kCount, out.data());
      return out;
    }, dx, "gelu " + std::to_string(static_cast<int>(form)));
  }
}

TEST(RowReferences, GradientOfTheSoftmaxIsThatOfDifferences) {
  const AttentionBlock block{.groups = 1, .queries = 2, .keys = 8, .first_position = 6, .causal = true, .scale = 0.75f};
  auto scores = grid(16, 1), g = grid(16, 2), delta = Buffer(kSingle, 2), lse = delta;
  const auto forward = [&](Buffer& at) {
    auto out = at;
    softmax_rows_reference(kSingle, block, out.data(), lse.floats());
    return out;
  };
  const auto p = forward(scores);
  for (int64_t i = 0; i < 16; ++i) delta.set(i / 8, static_cast<float>(delta[i / 8] + g[i] * p[i]));  // Σ dP ⊙ P = Σ dO ⊙ O
  auto again = scores, gradient = g;
  softmax_rows_backward_reference(kSingle, block, lse.floats(), delta.floats(), again.data(), gradient.data());
  expect_gradient(scores, g, forward, gradient, "scores");
}

TEST(RowReferences, RotationBackwardIsTheRotationBack) {
  auto x = grid(kCount, 1), g = grid(kCount, 2), cosine = grid(kRows * kWidth / 2, 3), sine = grid(kRows * kWidth / 2, 4);
  Buffer dx(kSingle, kCount);
  rotate_halves_rows_reference(kSingle, g.data(), cosine.floats(), sine.floats(), -1.0f, kRows, 1, kWidth, dx.data());
  expect_gradient(x, g, [&](Buffer& at) {
    Buffer out(kSingle, kCount);
    rotate_halves_rows_reference(kSingle, at.data(), cosine.floats(), sine.floats(), 1.0f, kRows, 1, kWidth, out.data());
    return out;
  }, dx, "x");
}

}  // namespace
}  // namespace graft::kernels
