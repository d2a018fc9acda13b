#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <omp.h>

#include <cmath>
#include <cstring>

#include "kernels/attention/variants.h"
#include "kernels/base/bfloat16.h"
#include "kernels/base/error.h"
#include "tests/kernels/attention/attention_case.h"

namespace graft::kernels::testing {
namespace {

const std::vector<std::vector<int32_t>> kLengths = {{1}, {5}, {16}, {17}, {31, 1, 33}, {128}, {129}};
const std::vector<std::pair<int64_t, int64_t>> kHeads = {{9, 3}, {14, 2}, {4, 4}, {8, 1}};
const std::vector<Mask> kMasks = {{true, 0}, {false, 0}, {true, 1}, {true, 7}, {true, 64}};

template <class Body>
void over_cases(const Body& body) {
  for (const auto& lengths : kLengths)
    for (const auto& mask : kMasks) {
      for (const int64_t width : {32, 64, 96, 128, 256}) body(CaseShape{lengths, {}, 4, 2, width, mask});
      for (const auto& [heads, key_heads] : kHeads) body(CaseShape{lengths, {}, heads, key_heads, 64, mask, 16});
    }
  std::vector<int32_t> many_short;
  for (int i = 0; i < 40; ++i) many_short.push_back(5 + (i * 37) % 61);
  for (const auto& mask : kMasks) {
    body(CaseShape{many_short, {}, 9, 3, 64, mask});
    body(CaseShape{{512, 300, 7}, {}, 3, 1, 64, mask});
    body(CaseShape{{3, 1, 40, 130}, {3, 200, 77, 131}, 6, 2, 48, mask, 8});
    body(CaseShape{{1}, {300}, 9, 3, 64, mask});
    body(CaseShape{{1, 33, 1}, {77, 97, 1}, 34, 1, 32, mask});  // more heads a group than lanes
  }
  body(CaseShape{{0, 3, 0}, {}, 4, 2, 16, {}});
  body(CaseShape{{0, 2}, {70, 2}, 4, 2, 80, {}});
}

void expect_near(const std::string& what, const std::vector<double>& got, const Expected& expected) {
  ASSERT_EQ(got.size(), expected.values.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_LE(std::fabs(got[i] - expected.values[i]), expected.errors[i])
        << what << " at " << i << ": " << got[i] << ", exact " << expected.values[i];
}

struct Forward {
  std::vector<uint16_t> out;
  std::vector<float> log_sum_exp;
};
Forward run_forward(const detail::AttentionVariant& variant, const AttentionCase& of) {
  Forward result{of.empty_queries(), of.empty_statistics()};
  variant.forward(of.problem(), {result.out.data(), of.query_stride()}, result.log_sum_exp.data());
  return result;
}

struct Backward {
  std::vector<uint16_t> dq, dk, dv;
  bool operator==(const Backward&) const = default;
};
Backward run_backward(const detail::AttentionVariant& variant, const AttentionCase& of, const Forward& forward) {
  Backward result{of.empty_queries(), of.empty_keys(), of.empty_keys()};
  variant.backward(of.problem(), {.out = {forward.out.data(), of.query_stride()},
                                  .out_gradient = of.out_gradient(),
                                  .log_sum_exp = forward.log_sum_exp.data(),
                                  .dq = {result.dq.data(), of.query_stride()},
                                  .dk = {result.dk.data(), of.key_stride()},
                                  .dv = {result.dv.data(), of.key_stride()}});
  return result;
}

TEST(Attention, ForwardOfEveryVariantIsNearTheExactResult) {
  over_cases([](const CaseShape& shape) {
    SCOPED_TRACE(shape.text());
    const AttentionCase of(shape);
    const auto expected = expected_forward(of);
    for (const auto& variant : detail::attention_variants()) {
      if (!variant.supported(of.problem())) continue;
      const auto result = run_forward(variant, of);
      const int64_t columns = shape.heads * shape.width;
      expect_near(std::string(variant.name), widened({result.out.data(), of.query_stride()}, of.queries(), columns), expected.out);
      EXPECT_TRUE(of.gaps_are_untouched(result.out, columns, of.query_stride()));
      // A sum whose terms are wrong by 7.5e-5 each is wrong by no more, and its logarithm by as much.
      for (size_t i = 0; i < result.log_sum_exp.size(); ++i)
        ASSERT_NEAR(result.log_sum_exp[i], expected.log_sum_exp[i], 1e-4) << variant.name;
    }
  });
}

TEST(Attention, BackwardOfEveryVariantIsNearTheExactGradients) {
  over_cases([](const CaseShape& shape) {
    SCOPED_TRACE(shape.text());
    const AttentionCase of(shape);
    const int64_t columns = shape.heads * shape.width, key_columns = shape.key_heads * shape.width;
    const auto forward = run_forward(detail::attention_variants().back(), of);
    const auto expected = expected_backward(of, widened({forward.out.data(), of.query_stride()}, of.queries(), columns),
                                            {forward.log_sum_exp.begin(), forward.log_sum_exp.end()});
    for (const auto& variant : detail::attention_variants()) {
      if (!variant.supported(of.problem())) continue;
      const std::string name(variant.name);
      const auto result = run_backward(variant, of, forward);
      expect_near(name + " dq", widened({result.dq.data(), of.query_stride()}, of.queries(), columns), expected.dq);
      expect_near(name + " dk", widened({result.dk.data(), of.key_stride()}, of.keys(), key_columns), expected.dk);
      expect_near(name + " dv", widened({result.dv.data(), of.key_stride()}, of.keys(), key_columns), expected.dv);
      EXPECT_TRUE(of.gaps_are_untouched(result.dq, columns, of.query_stride()));
      EXPECT_TRUE(of.gaps_are_untouched(result.dk, key_columns, of.key_stride()));
      EXPECT_TRUE(of.gaps_are_untouched(result.dv, key_columns, of.key_stride()));
    }
  });
}

TEST(Attention, ResultsAreTheSameBytesOnEveryRunAndForEveryNumberOfThreads) {
  const int threads = omp_get_max_threads();
  for (const auto& lengths : {std::vector<int32_t>{512, 300, 7}, {700}, {5, 350, 40, 1, 90, 17, 200}}) {
    const AttentionCase of({lengths, {}, 9, 3, 64, {}});
    for (const auto& variant : detail::attention_variants()) {
      if (!variant.supported(of.problem()) || variant.forward == attention_forward_reference) continue;  // that one has no threads
      omp_set_num_threads(1);
      const auto forward = run_forward(variant, of);
      const auto backward = run_backward(variant, of, forward);
      for (const int count : {1, 2, 3, threads}) {
        omp_set_num_threads(count);
        const auto again = run_forward(variant, of);
        EXPECT_EQ(again.out, forward.out) << variant.name;
        EXPECT_EQ(again.log_sum_exp, forward.log_sum_exp) << variant.name;
        EXPECT_EQ(run_backward(variant, of, forward), backward) << variant.name << " " << count;
      }
    }
  }
  omp_set_num_threads(threads);
}

TEST(Attention, ASequenceGetsTheBytesThatItGetsAlone) {
  const CaseShape shape{{40, 129, 3}, {}, 4, 2, 64, {}};
  const AttentionCase of(shape);
  for (const auto& variant : detail::attention_variants()) {
    if (!variant.supported(of.problem())) continue;
    const auto whole = run_forward(variant, of);
    int64_t first = 0;
    for (const auto length : shape.lengths) {
      auto problem = of.problem();
      problem.lengths = std::span(&length, 1);
      problem.q.data += first * problem.q.stride;
      problem.k.data += first * problem.k.stride;
      problem.v.data += first * problem.v.stride;
      std::vector<uint16_t> out(static_cast<size_t>(length * of.query_stride()));
      variant.forward(problem, {out.data(), of.query_stride()}, nullptr);
      EXPECT_TRUE(std::equal(out.begin(), out.end(), whole.out.begin() + first * of.query_stride())) << variant.name << " " << length;
      first += length;
    }
  }
}

TEST(Attention, ANumberThatIsNotFiniteStaysWithinItsSequence) {
  AttentionCase of({{20, 31, 50}, {}, 4, 2, 64, {}});
  of.spoil_token(20 + 30);
  for (const auto& variant : detail::attention_variants()) {
    if (!variant.supported(of.problem())) continue;
    const auto forward = run_forward(variant, of);
    const auto backward = run_backward(variant, of, forward);
    for (size_t i = 0; i < forward.out.size(); ++i) {
      const auto token = static_cast<int64_t>(i) / of.query_stride();
      if (token >= 20 && token < 51) continue;
      ASSERT_FALSE(std::isnan(bfloat16_to_float(forward.out[i]))) << variant.name << " token " << token;
      ASSERT_FALSE(std::isnan(bfloat16_to_float(backward.dq[i]))) << variant.name << " token " << token;
    }
    for (size_t i = 0; i < backward.dk.size(); ++i) {
      const auto token = static_cast<int64_t>(i) / of.key_stride();
      if (token >= 20 && token < 51) continue;
      ASSERT_FALSE(std::isnan(bfloat16_to_float(backward.dk[i]))) << variant.name << " token " << token;
      ASSERT_FALSE(std::isnan(bfloat16_to_float(backward.dv[i]))) << variant.name << " token " << token;
    }
  }
}

TEST(Attention, ScoresFarApartNeitherOverflowNorVanish) {
  const AttentionCase of({{70, 200}, {}, 4, 2, 64, {}});
  for (const float scale : {1e-6f, 30.0f, 1e4f}) {
    for (const auto& variant : detail::attention_variants()) {
      if (!variant.supported(of.problem())) continue;
      auto problem = of.problem();
      problem.scale = scale;
      std::vector<uint16_t> out = of.empty_queries();
      variant.forward(problem, {out.data(), of.query_stride()}, nullptr);
      // Each row is an average of values between -6 and 6.
      for (const auto value : out) ASSERT_LT(std::fabs(bfloat16_to_float(value)), 6.0f) << variant.name << " " << scale;
    }
  }
}

/// Σ out · out_gradient, whose derivatives the backward pass gives.
double objective(const AttentionProblem& problem, const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v,
                 const std::vector<double>& gradient) {
  std::vector<double> out(q.size()), log_sum_exp(q.size());
  detail::attention_forward_exact(problem, {q.data(), k.data(), v.data()}, out.data(), log_sum_exp.data());
  double sum = 0;
  for (size_t i = 0; i < out.size(); ++i) sum += out[i] * gradient[i];
  return sum;
}

TEST(Attention, TheReferencesGradientsAreCentralDifferences) {
  for (const auto& mask : {Mask{true, 0}, Mask{false, 0}, Mask{true, 2}}) {
    const AttentionCase of({{3, 1, 4}, {3, 2, 6}, 4, 2, 3, mask});
    const auto problem = of.problem();
    auto q = widened(problem.q, 8, 12), k = widened(problem.k, 11, 6), v = widened(problem.v, 11, 6);
    const auto gradient = widened(of.out_gradient(), 8, 12);
    std::vector<double> out(q.size()), log_sum_exp(8 * 4), dq(q.size()), dk(k.size()), dv(v.size());
    detail::attention_forward_exact(problem, {q.data(), k.data(), v.data()}, out.data(), log_sum_exp.data());
    detail::attention_backward_exact(problem, {q.data(), k.data(), v.data()}, out.data(), gradient.data(), log_sum_exp.data(),
                                     dq.data(), dk.data(), dv.data());
    const auto check = [&](const char* what, std::vector<double>& values, const std::vector<double>& expected) {
      constexpr double kStep = 1e-5;  // its square and the rounding of sums of about 10 over it are both near 1e-10
      for (size_t i = 0; i < values.size(); ++i) {
        const double middle = values[i];
        values[i] = middle + kStep;
        const double above = objective(problem, q, k, v, gradient);
        values[i] = middle - kStep;
        const double below = objective(problem, q, k, v, gradient);
        values[i] = middle;
        ASSERT_NEAR((above - below) / (2 * kStep), expected[i], 3e-9) << what << " " << i;
      }
    };
    check("dq", q, dq);
    check("dk", k, dk);
    check("dv", v, dv);
  }
}

TEST(Attention, NothingInGivesNothingOut) {
  for (const auto& lengths : {std::vector<int32_t>{}, {0}, {0, 0, 0}}) {
    const AttentionCase of({lengths, {}, 9, 3, 64, {}});
    for (const auto& variant : detail::attention_variants()) {
      if (!variant.supported(of.problem())) continue;
      run_backward(variant, of, run_forward(variant, of));
    }
  }
}

TEST(Attention, KeysThatNobodyAsksForGetNoGradient) {
  const AttentionCase of({{0, 1}, {40, 70}, 4, 2, 64, {true, 8}});
  for (const auto& variant : detail::attention_variants()) {
    if (!variant.supported(of.problem())) continue;
    const auto result = run_backward(variant, of, run_forward(variant, of));
    for (int64_t i = 0; i < (40 + 62) * of.key_stride(); ++i) {
      ASSERT_EQ(result.dk[static_cast<size_t>(i)] & 0x7fff, 0) << variant.name << " " << i;
      ASSERT_EQ(result.dv[static_cast<size_t>(i)] & 0x7fff, 0) << variant.name << " " << i;
    }
  }
}

TEST(Attention, WhatTilesCannotTakeIsSaid) {
  for (const int64_t width : {8, 40, 272}) {
    const AttentionCase of({{5, 33}, {}, 4, 2, width, {}});
    EXPECT_FALSE(attention_supported(of.problem())) << width;
    std::vector<uint16_t> out = of.empty_queries();
    attention_forward(of.problem(), {out.data(), of.query_stride()}, nullptr);  // plain loops
    expect_near("fallback", widened({out.data(), of.query_stride()}, of.queries(), 4 * width), expected_forward(of).out);
  }
}

TEST(Attention, WrongUseIsRefused) {
  const AttentionCase of({{5, 33}, {}, 4, 2, 64, {}});
  std::vector<uint16_t> out = of.empty_queries();
  const std::vector<int32_t> negative = {-1, 3}, too_few_keys = {5, 32}, one = {38};
  const auto refused = [&](const auto& change) {
    auto problem = of.problem();
    change(problem);
    EXPECT_THROW(attention_forward(problem, {out.data(), of.query_stride()}, nullptr), InvalidArgument);
    AttentionGradients gradients{};
    EXPECT_THROW(attention_backward(problem, gradients), InvalidArgument);
  };
  refused([](auto& p) { p.key_heads = 3; });
  refused([](auto& p) { p.heads = 0; });
  refused([](auto& p) { p.width = 0; });
  refused([](auto& p) { p.scale = 0.0f; });
  refused([](auto& p) { p.scale = NAN; });
  refused([](auto& p) { p.window = -1; });
  refused([](auto& p) { p.k.stride = 127; });
  refused([&](auto& p) { p.lengths = negative; });
  refused([&](auto& p) { p.key_lengths = too_few_keys; });
  refused([&](auto& p) { p.key_lengths = one; });
}

}  // namespace
}  // namespace graft::kernels::testing
