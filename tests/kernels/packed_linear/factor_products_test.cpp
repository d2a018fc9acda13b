#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/packed_linear/packed_linear.h"
#include "kernels/packed_linear/variants.h"
#include "tests/kernels/packed_linear/problems.h"

namespace graft::kernels {
namespace {

TEST(FactorProducts, NarrowProductsMatchTheReference) {
  for (const int64_t rank : {1, 8, 16, 33, 64}) {
    for (const int64_t rows : {1, 16, 31, 33, 97}) {
      for (const int64_t in : {0, 1, 31, 64, 100, 700}) {
        Matrix x(rows, in, in % 2 * 7, 1), a(rank, in, 2, 2), down(rows, rank, 3, 3, false);
        NarrowProduct p{.rows = rows, .in = in, .rank = rank, .x = x.values.data(), .x_stride = x.stride};
        p.a = factor_of(a), p.down_stride = down.stride;
        auto expected = down.values;
        p.down = expected.data();
        detail::narrow_product_reference(p);
        for (const auto& variant : detail::packed_linear_variants()) {
          if (!variant.supported()) continue;
          auto got = down.values;
          p.down = got.data();
          variant.narrow(p);
          expect_close(got, expected, rows, rank, down.stride, in, std::string(variant.name) + " rank " + std::to_string(rank));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

constexpr float kUntouchedFloat = -77.0f;

struct GradientProblem {
  Matrix narrow, wide;
  std::vector<float> out;
  FactorGradient p;

  GradientProblem(int64_t rows, int64_t rank, int64_t columns, bool transposed, bool accumulate)
      : narrow(rows, rank, 3, 1), wide(rows, columns, columns % 2 * 5, 2) {
    p.rows = rows, p.rank = rank, p.columns = columns, p.scale = 0.5f, p.transposed = transposed, p.accumulate = accumulate;
    p.narrow = narrow.values.data(), p.narrow_stride = narrow.stride;
    p.wide = wide.values.data(), p.wide_stride = wide.stride;
    p.out_stride = (transposed ? rank : columns) + 2;
    const int64_t lines = transposed ? columns : rank;
    if (lines > 0) out.assign(static_cast<size_t>(lines * p.out_stride - 2), kUntouchedFloat);
  }
  template <class Function>
  std::vector<float> run(Function&& function) {
    auto result = out;
    p.out = result.data();
    function(p);
    return result;
  }
};

TEST(FactorProducts, GradientsOfFactorsMatchTheReference) {
  for (const int64_t rank : {1, 8, 16, 17, 33, 64}) {
    for (const int64_t rows : {0, 1, 2, 31, 32, 33, 97, 128, 129, 300}) {
      for (const int64_t columns : {1, 15, 31, 32, 33, 100, 576}) {
        const bool transposed = (rank + rows + columns) % 2 == 0, accumulate = rows % 3 == 1;
        GradientProblem problem(rows, rank, columns, transposed, accumulate);
        const auto expected = problem.run(detail::factor_gradient_reference);
        for (const auto& variant : detail::packed_linear_variants()) {
          if (!variant.supported()) continue;
          const auto got = problem.run(variant.gradient);
          for (size_t i = 0; i < got.size(); ++i) {
            // As above, without the rounding to bf16; the gaps and accumulated values (77) are kept or rounded by 2^-17.
            ASSERT_LE(std::fabs(static_cast<double>(got[i]) - static_cast<double>(expected[i])), static_cast<double>(rows) * 0x1p-22 + 0x1p-16)
                << variant.name << " rank " << rank << ", " << rows << " rows, " << columns << " columns, at " << i;
          }
        }
      }
    }
  }
}

TEST(FactorProducts, GradientsAreTheSameBitsForAnyNumberOfThreads) {
  const int most = omp_get_max_threads();
  for (const auto& variant : detail::packed_linear_variants()) {
    if (!variant.supported()) continue;
    for (const bool transposed : {false, true}) {
      GradientProblem problem(300, 16, 200, transposed, false);
      omp_set_num_threads(1);
      const auto alone = problem.run(variant.gradient);
      omp_set_num_threads(2);
      for (int run = 0; run < 3; ++run) EXPECT_EQ(problem.run(variant.gradient), alone) << variant.name;
    }
  }
  omp_set_num_threads(most);
}

}  // namespace
}  // namespace graft::kernels
