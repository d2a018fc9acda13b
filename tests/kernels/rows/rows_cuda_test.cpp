#include "kernels/rows/rows_cuda.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "kernels/base/cuda_state.h"
#include "kernels/base/error.h"
#include "kernels/rows/norm_launch.h"
#include "kernels/rows/rows_reference.h"
#include "tests/kernels/base/places.h"

namespace graft::kernels {
namespace {

// Tolerances. u is the unit roundoff: 2^-24 in fp32, 2^-8 in bf16. Kernel and reference each round their result once, so bf16 results
// differ by 2u at most where the fp32 work before agrees. A sum of n rounded terms errs like a random walk, about √n·u of its terms;
// sum_error allows twice that and eight roundings around it. exp is good to 3e-7, which is 5u.
constexpr double kUnit = 0x1p-24;
double sum_error(int64_t n) { return (2 * std::sqrt(static_cast<double>(n)) + 8) * kUnit; }

/// n numbers of either type, in memory of just that size.
struct Numbers {
  Element type;
  int64_t n;
  std::vector<float> wide;
  std::vector<uint16_t> narrow;

  Numbers(Element t, int64_t count)
      : type(t), n(count), wide(t == Element::kFloat32 ? static_cast<size_t>(n) : 0), narrow(t == Element::kFloat32 ? 0 : static_cast<size_t>(n)) {}

  static Numbers normal(Element type, int64_t n, uint32_t seed, float scale = 1.0f) {
    Numbers numbers(type, n);
    std::mt19937 random(seed);
    std::normal_distribution<float> draw(0.0f, scale);
    for (int64_t i = 0; i < n; ++i) numbers.set(i, draw(random));
    return numbers;
  }

  double operator[](int64_t i) const {
    const auto at = static_cast<size_t>(i);
    return static_cast<double>(type == Element::kFloat32 ? wide[at] : bfloat16_to_float(narrow[at]));
  }
  void set(int64_t i, float v) {
    const auto at = static_cast<size_t>(i);
    if (type == Element::kFloat32) {
      wide[at] = v;
    } else {
      narrow[at] = float_to_bfloat16(v);
    }
  }
  void* data() { return type == Element::kFloat32 ? static_cast<void*>(wide.data()) : narrow.data(); }
  float* floats() { return wide.data(); }
  bool operator==(const Numbers& other) const { return same_numbers(wide, other.wide) && same_numbers(narrow, other.narrow); }
};

/// What `site` knows a vector by.
void* at(Site& site, Numbers& numbers) {
  return numbers.type == Element::kFloat32 ? static_cast<void*>(site.at(numbers.wide)) : site.at(numbers.narrow);
}
float* floats(Site& site, Numbers& numbers) { return site.at(numbers.wide); }

template <class Bound>
void expect_close(const Numbers& actual, const Numbers& expected, const Bound& bound, const std::string& what) {
  for (int64_t i = 0; i < actual.n; ++i)
    ASSERT_LE(std::abs(actual[i] - expected[i]), bound(i)) << what << ", element " << i << ": " << actual[i] << " for " << expected[i];
}

class RowsCuda : public ::testing::TestWithParam<std::tuple<Element, Place>> {
 protected:
  void SetUp() override {
    if (const auto why = why_not_at(place()); !why.empty()) GTEST_SKIP() << why;
  }
  Element type() const { return std::get<0>(GetParam()); }
  Place place() const { return std::get<1>(GetParam()); }
  double unit() const { return type() == Element::kFloat32 ? kUnit : 2 * 0x1p-8; }

  /// Runs at this test's place, and forwards on the host, into two sets of outputs; they must have the same bits. Returns this place's.
  template <class Run>
  std::vector<Numbers> run(const std::vector<Numbers>& outputs, const Run& body) const {
    auto here = outputs, host = outputs;
    {
      Site site(place());
      body(site, here);
    }
    {
      Site site(Place::kForward);
      body(site, host);
    }
    for (size_t k = 0; k < here.size(); ++k) EXPECT_TRUE(here[k] == host[k]) << "output " << k << " differs from the host's";
    return here;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, RowsCuda, ::testing::Combine(::testing::Values(Element::kFloat32, Element::kBFloat16), kPlaces),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param) == Element::kFloat32 ? "fp32_" : "bf16_") +
                                  name_of(std::get<1>(instance.param));
                         });

constexpr float kEpsilon = 1e-5f;

struct NormCase {
  int64_t rows, n;
  std::vector<Numbers> g;  // from each reader; `readers` of them count
  size_t readers = 1;
  Numbers x, beside, weight, bias, y, sum, mean, inverse;

  NormCase(Element type, int64_t row_count, int64_t width)
      : rows(row_count), n(width), x(Numbers::normal(type, rows * n, 1)),
        beside(Numbers::normal(type, rows * n, 3)), weight(Numbers::normal(Element::kFloat32, n, 4)),
        bias(Numbers::normal(Element::kFloat32, n, 5)), y(type, rows * n), sum(type, rows * n), mean(Element::kFloat32, rows),
        inverse(Element::kFloat32, rows) {
    for (uint32_t k = 0; k < kMostReaders; ++k) g.push_back(Numbers::normal(type, rows * n, 20 + k));
  }

  std::string what() const { return std::to_string(rows) + " x " + std::to_string(n) + ", " + std::to_string(readers) + " readers"; }
  /// Σ |g| over the readers, which the error of their sum is measured by.
  double size_of_gradient(int64_t i) const {
    double size = 0;
    for (size_t k = 0; k < readers; ++k) size += std::abs(g[k][i]);
    return size;
  }
  Numbers scratch() const { return Numbers(Element::kFloat32, norm_gradient_scratch(rows, n, true)); }

  /// dx is a difference of terms that may cancel; its error is that of the terms: the largest g·w and x̂ · mean(|g·w·x̂|), times inverse.
  std::vector<double> gradient_terms() const {
    std::vector<double> terms;
    for (int64_t r = 0; r < rows; ++r) {
      double largest = 0, mean_term = 0, largest_x = 0;
      for (int64_t i = 0; i < n; ++i) {
        const double gw = size_of_gradient(r * n + i) * std::abs(weight[i]), normal = std::abs(x[r * n + i] - mean[r]) * inverse[r];
        largest = std::max(largest, gw), largest_x = std::max(largest_x, normal), mean_term += gw * normal / static_cast<double>(n);
      }
      terms.push_back(inverse[r] * (largest + (largest_x + 1) * (mean_term + largest)));
    }
    return terms;
  }
  void expect_gradient(const Numbers& dx, const Numbers& expected, double unit) const {
    const auto terms = gradient_terms();
    expect_close(dx, expected, [&](int64_t i) {
      return unit * std::abs(expected[i]) + sum_error(n) * terms[static_cast<size_t>(i / n)] + 2 * kUnit * std::abs(beside[i]);
    }, "dx, " + what());
  }
  /// A column's Σ |g · x̂|, or Σ |g|, is what its error is measured by; 6: what it held before.
  void expect_columns(const Numbers& sums, const Numbers& expected, bool with_x) const {
    std::vector<double> columns(static_cast<size_t>(n), 6.0);
    for (int64_t i = 0; i < rows * n; ++i)
      columns[static_cast<size_t>(i % n)] += size_of_gradient(i) * (with_x ? (std::abs(x[i]) + std::abs(mean[i / n])) * inverse[i / n] : 1.0);
    expect_close(sums, expected, [&](int64_t i) { return sum_error(rows) * columns[static_cast<size_t>(i)]; }, "columns, " + what());
  }
};

/// Around the eight numbers of a thread and the 64 or 256 threads of a row; primes; widths of real models.
template <class Body>
void over_cases(Element type, Place place, const Body& body) {
  for (const int64_t n : {1, 2, 7, 8, 9, 15, 16, 63, 64, 65, 97, 511, 512, 513, 576, 1024, 1025, 1032, 2048, 2056, 4096, 4099, 4864, 8192, 8200, 12301})
    for (const int64_t rows : {0, 1, 5}) {
      NormCase c(type, rows, n);
      body(c);
      if (::testing::Test::HasFatalFailure()) return;
    }
  for (const int64_t rows : {31, 32, 33, 63, 64, 65, 67, 193, 1025}) {  // around the slices of the columns' sums
    NormCase c(type, rows, 264);
    body(c);
  }
  if (place != Place::kDevice) return;
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{521, 4096}, {311, 8191}, {70001, 24}}) {  // more blocks than run at once
    NormCase c(type, rows, n);
    body(c);
  }
}

TEST_P(RowsCuda, RmsNorm) {
  over_cases(type(), place(), [&](NormCase& c) {
    const auto out = run({c.y, c.inverse}, [&](Site& site, std::vector<Numbers>& to) {
      const void* x = at(site, c.x);
      const float* weight = floats(site, c.weight);
      void* y = at(site, to[0]);
      float* inverse = floats(site, to[1]);
      site.on_device() ? rms_norm_rows_cuda(type(), x, weight, kEpsilon, c.rows, c.n, y, inverse, nullptr)
                       : detail::launch_rms_norm(site.host(), type(), x, nullptr, weight, kEpsilon, c.rows, c.n, nullptr, y, inverse);
    });
    rms_norm_rows_reference(type(), c.x.data(), c.weight.floats(), kEpsilon, c.rows, c.n, c.y.data(), c.inverse.floats());
    expect_close(out[1], c.inverse, [&](int64_t i) { return sum_error(c.n) * c.inverse[i]; }, "inverse, " + c.what());
    expect_close(out[0], c.y, [&](int64_t i) { return (sum_error(c.n) + unit()) * std::abs(c.y[i]); }, c.what());
  });
}

TEST_P(RowsCuda, AddRmsNorm) {
  over_cases(type(), place(), [&](NormCase& c) {
    const auto out = run({c.sum, c.y, c.inverse}, [&](Site& site, std::vector<Numbers>& to) {
      const void *x = at(site, c.x), *residual = at(site, c.beside);
      const float* weight = floats(site, c.weight);
      void *sum = at(site, to[0]), *y = at(site, to[1]);
      float* inverse = floats(site, to[2]);
      site.on_device() ? add_rms_norm_rows_cuda(type(), x, residual, weight, kEpsilon, c.rows, c.n, sum, y, inverse, nullptr)
                       : detail::launch_rms_norm(site.host(), type(), x, residual, weight, kEpsilon, c.rows, c.n, sum, y, inverse);
    });
    add_rms_norm_rows_reference(type(), c.x.data(), c.beside.data(), c.weight.floats(), kEpsilon, c.rows, c.n, c.sum.data(), c.y.data(),
                                c.inverse.floats());
    EXPECT_TRUE(out[0] == c.sum) << c.what();  // one rounding of two numbers: nothing may differ
    expect_close(out[2], c.inverse, [&](int64_t i) { return sum_error(c.n) * c.inverse[i]; }, "inverse, " + c.what());
    expect_close(out[1], c.y, [&](int64_t i) { return (sum_error(c.n) + unit()) * std::abs(c.y[i]); }, c.what());
  });
}

/// The backward pass of the case; the caller has set the pointers that differ from test to test.
void back(Site& site, NormCase& c, RmsNormBackward norm, float* scratch) {
  norm.rows = c.rows, norm.n = c.n, norm.weight = floats(site, c.weight), norm.inverse_rms = floats(site, c.inverse);
  site.on_device() ? rms_norm_rows_backward_cuda(c.x.type, norm, scratch, nullptr)
                   : detail::launch_rms_norm_backward(site.host(), c.x.type, norm, scratch);
}

/// What the reference makes of the first c.readers gradients: dx, and `before` with the weight's gradient added.
std::pair<Numbers, Numbers> expected_back(NormCase& c, bool with_beside, const Numbers& before) {
  rms_norm_rows_reference(c.x.type, c.x.data(), c.weight.floats(), kEpsilon, c.rows, c.n, c.y.data(), c.inverse.floats());
  auto dx = c.y, dweight = before;
  std::vector<const void*> g;
  for (size_t k = 0; k < c.readers; ++k) g.push_back(c.g[k].data());
  rms_norm_rows_backward_reference(c.x.type, {.rows = c.rows, .n = c.n, .g = g, .beside = with_beside ? c.beside.data() : nullptr,
                                              .x = c.x.data(), .weight = c.weight.floats(), .inverse_rms = c.inverse.floats(),
                                              .dx = dx.data(), .dweight = dweight.floats()});
  return {dx, dweight};
}

TEST_P(RowsCuda, RmsNormBackwardForAnyReaders) {
  int turn = 0;
  over_cases(type(), place(), [&](NormCase& c) {
    const auto before = Numbers::normal(Element::kFloat32, c.n, 6);
    for (c.readers = 1; c.readers <= kMostReaders; ++c.readers, ++turn) {
      const bool with_beside = turn / 4 % 2 == 0, wanted = turn % 3 != 0;  // in 24 turns all of them come together
      const auto [dx, dweight] = expected_back(c, with_beside, before);
      const auto out = run({c.y, before, c.scratch()}, [&](Site& site, std::vector<Numbers>& to) {
        std::vector<const void*> g;
        for (size_t k = 0; k < c.readers; ++k) g.push_back(at(site, c.g[k]));
        back(site, c, {.g = g, .beside = with_beside ? at(site, c.beside) : nullptr, .x = at(site, c.x), .dx = at(site, to[0]),
                       .dweight = wanted ? floats(site, to[1]) : nullptr}, wanted ? floats(site, to[2]) : nullptr);
      });
      c.expect_gradient(out[0], dx, unit());
      c.expect_columns(out[1], wanted ? dweight : before, true);
    }
  });
}

/// dx stands where an input stood, so the columns' sums must come first, and each thread must read its eight before it writes.
TEST_P(RowsCuda, RmsNormBackwardInPlaceOfAnyInput) {
  for (const int64_t n : {9, 576, 2056})
    for (const int input : {0, 1, 2, 3}) {
      NormCase c(type(), 67, n);
      c.readers = 2;
      const auto before = Numbers::normal(Element::kFloat32, n, 6);
      const auto [dx, dweight] = expected_back(c, true, before);
      Numbers* inputs[] = {&c.g[0], &c.g[1], &c.beside, &c.x};
      const auto out = run({*inputs[input], before, c.scratch()}, [&](Site& site, std::vector<Numbers>& to) {
        const auto placed = [&](int which) { return which == input ? at(site, to[0]) : at(site, *inputs[which]); };
        const void* g[] = {placed(0), placed(1)};
        back(site, c, {.g = g, .beside = placed(2), .x = placed(3), .dx = placed(input), .dweight = floats(site, to[1])},
             floats(site, to[2]));
      });
      c.expect_gradient(out[0], dx, unit());
      c.expect_columns(out[1], dweight, true);
    }
}

/// Runs nothing; notes whether the last program with that choice would read packs, which fault on a device where they are not aligned.
struct NotesPacks {
  bool* packed;
  template <class Program>
  void operator()(int64_t, const Program& program) const {
    if constexpr (requires { program.packed; }) *packed = program.packed;
  }
};

TEST(RowsCudaArguments, OnePlaceOffTheGridForbidsPacks) {
  constexpr int kPointers = 6;
  for (int off = -1; off < kPointers; ++off)
    for (const int64_t n : {64, 63}) {
      bool packed = false;
      const NotesPacks notes{&packed};
      const auto at = [&](int k) { return reinterpret_cast<float*>(static_cast<uintptr_t>(4096 + 16 * k + (k == off ? 4 : 0))); };
      const auto expect = [&](int pointers, const char* what) { EXPECT_EQ(packed, off < 0 || off >= pointers) << what << " " << off; };
      const auto expect_rows = [&](int pointers, const char* what) {
        EXPECT_EQ(packed, n % 8 == 0 && (off < 0 || off >= pointers)) << what << " " << off;
      };
      float* none = nullptr;
      const auto type = Element::kFloat32;
      detail::launch_rms_norm(notes, type, at(0), at(1), at(2), kEpsilon, 1, n, at(3), at(4), none);
      expect_rows(5, "RMSNorm");
      const void* g[] = {at(0), at(1)};
      detail::launch_rms_norm_backward(notes, type, {.rows = 1, .n = n, .g = g, .beside = at(2), .x = at(3), .weight = at(4), .dx = at(5)},
                                       none);
      expect_rows(6, "RMSNorm backward");
      detail::launch_layer_norm(notes, type, at(0), at(1), at(2), kEpsilon, 1, n, at(3), none, none);
      expect_rows(4, "LayerNorm");
      detail::launch_layer_norm_backward(notes, type, at(0), at(1), at(2), none, none, 1, n, at(3), none, none, none);
      expect_rows(4, "LayerNorm backward");
      detail::launch_rotate_halves(notes, type, at(0), at(1), at(2), 1.0f, 1, 1, 2 * n, at(3));
      expect_rows(4, "rotary");
      detail::launch_swiglu_backward(notes, type, at(0), at(1), at(2), n, at(3), at(4));
      expect(5, "SwiGLU backward");
    }
}

TEST(RowsCudaArguments, ANormWithoutReadersIsABug) {
  EXPECT_DEATH(detail::launch_rms_norm_backward(HostLauncher(), Element::kFloat32, {}, nullptr), "norm.g");
}

TEST_P(RowsCuda, LayerNorm) {
  over_cases(type(), place(), [&](NormCase& c) {
    const auto out = run({c.y, c.mean, c.inverse}, [&](Site& site, std::vector<Numbers>& to) {
      const void* x = at(site, c.x);
      const float *weight = floats(site, c.weight), *bias = floats(site, c.bias);
      void* y = at(site, to[0]);
      float *mean = floats(site, to[1]), *inverse = floats(site, to[2]);
      site.on_device() ? layer_norm_rows_cuda(type(), x, weight, bias, kEpsilon, c.rows, c.n, y, mean, inverse, nullptr)
                       : detail::launch_layer_norm(site.host(), type(), x, weight, bias, kEpsilon, c.rows, c.n, y, mean, inverse);
    });
    layer_norm_rows_reference(type(), c.x.data(), c.weight.floats(), c.bias.floats(), kEpsilon, c.rows, c.n, c.y.data(), c.mean.floats(),
                              c.inverse.floats());
    const double sums = sum_error(c.n);
    // The mean errs by a sum of numbers near 1. Of a row that is a few numbers close together the variance is small beside it: the
    // error of inverse is that of the mean, measured in standard deviations.
    expect_close(out[1], c.mean, [&](int64_t) { return 2 * sums; }, "mean, " + c.what());
    expect_close(out[2], c.inverse, [&](int64_t r) { return sums * c.inverse[r] * (1 + 5 * c.inverse[r]); }, "inverse, " + c.what());
    expect_close(out[0], c.y, [&](int64_t i) {
      const double inverse = c.inverse[i / c.n], normal = (std::abs(c.x[i]) + 5) * inverse;
      return unit() * std::abs(c.y[i]) + sums * (1 + normal) * (1 + 5 * inverse) * (std::abs(c.weight[i % c.n]) + std::abs(c.bias[i % c.n]));
    }, c.what());
  });
}

TEST_P(RowsCuda, LayerNormOfALargeMeanKeepsTheSpread) {
  // 1000 + N(0, 1): mean(x²) − mean² would lose 20 of 24 bits. bf16 near 1000 has steps of 4, so this is fp32's affair.
  if (type() == Element::kBFloat16) return;
  NormCase c(type(), 1, 577);
  for (int64_t i = 0; i < 577; ++i) c.x.set(i, static_cast<float>(c.x[i]) + 1000.0f);
  const auto out = run({c.y, c.mean, c.inverse}, [&](Site& site, std::vector<Numbers>& to) {
    const void* x = at(site, c.x);
    const float *weight = floats(site, c.weight), *bias = floats(site, c.bias);
    void* y = at(site, to[0]);
    float *mean = floats(site, to[1]), *inverse = floats(site, to[2]);
    site.on_device() ? layer_norm_rows_cuda(type(), x, weight, bias, kEpsilon, 1, 577, y, mean, inverse, nullptr)
                     : detail::launch_layer_norm(site.host(), type(), x, weight, bias, kEpsilon, 1, 577, y, mean, inverse);
  });
  layer_norm_rows_reference(type(), c.x.data(), c.weight.floats(), c.bias.floats(), kEpsilon, 1, 577, c.y.data(), c.mean.floats(),
                            c.inverse.floats());
  // The mean errs by 1000 · sum_error of a random walk, here below 4e-3, which the variance feels squared.
  EXPECT_NEAR(out[1][0], c.mean[0], 1000 * sum_error(577));
  EXPECT_NEAR(out[2][0], c.inverse[0], 1e-5);
}

TEST_P(RowsCuda, LayerNormBackward) {
  over_cases(type(), place(), [&](NormCase& c) {
    layer_norm_rows_reference(type(), c.x.data(), c.weight.floats(), c.bias.floats(), kEpsilon, c.rows, c.n, c.y.data(), c.mean.floats(),
                              c.inverse.floats());
    const auto before = Numbers::normal(Element::kFloat32, c.n, 6);
    auto expected = c.y, expected_dweight = before, expected_dbias = before;
    layer_norm_rows_backward_reference(type(), c.g[0].data(), c.x.data(), c.weight.floats(), c.mean.floats(), c.inverse.floats(), c.rows, c.n,
                                       expected.data(), expected_dweight.floats(), expected_dbias.floats());
    for (const int wanted : {0, 1, 2, 3}) {  // bit 0: weight, bit 1: bias
      const auto out = run({c.y, before, before, c.scratch()}, [&](Site& site, std::vector<Numbers>& to) {
        const void *g = at(site, c.g[0]), *x = at(site, c.x);
        const float *weight = floats(site, c.weight), *mean = floats(site, c.mean), *inverse = floats(site, c.inverse);
        void* dx = at(site, to[0]);
        float *dweight = (wanted & 1) != 0 ? floats(site, to[1]) : nullptr, *dbias = (wanted & 2) != 0 ? floats(site, to[2]) : nullptr;
        float* scratch = floats(site, to[3]);
        site.on_device()
            ? layer_norm_rows_backward_cuda(type(), g, x, weight, mean, inverse, c.rows, c.n, dx, dweight, dbias, scratch, nullptr)
            : detail::launch_layer_norm_backward(site.host(), type(), g, x, weight, mean, inverse, c.rows, c.n, dx, dweight, dbias, scratch);
      });
      c.expect_gradient(out[0], expected, unit());
      c.expect_columns(out[1], (wanted & 1) != 0 ? expected_dweight : before, true);
      c.expect_columns(out[2], (wanted & 2) != 0 ? expected_dbias : before, false);
    }
  });
}

std::vector<int64_t> flat_sizes(Place place) {
  return sizes_at<int64_t>(place, {0, 1, 7, 8, 9, 16, 2047, 2048, 2049, 4096, 20011}, {1 << 21, (1 << 21) + 9});
}

TEST_P(RowsCuda, Swiglu) {
  for (const int64_t n : flat_sizes(place())) {
    auto gate = Numbers::normal(type(), n, 1, 4.0f), up = Numbers::normal(type(), n, 2), expected = up;
    const auto out = run({expected}, [&](Site& site, std::vector<Numbers>& to) {
      const void *a = at(site, gate), *b = at(site, up);
      void* product = at(site, to[0]);
      site.on_device() ? swiglu_elements_cuda(type(), a, b, n, product, nullptr) : detail::launch_swiglu(site.host(), type(), a, b, n, product);
    });
    swiglu_elements_reference(type(), gate.data(), up.data(), n, expected.data());
    // exp, and its argument, which fp32 holds exactly; 1 +, 1 /, two products.
    expect_close(out[0], expected, [&](int64_t i) { return (24 * kUnit + unit()) * std::abs(expected[i]) + 1e-37; }, std::to_string(n));
  }
}

TEST_P(RowsCuda, SwigluBackward) {
  for (const int64_t n : flat_sizes(place())) {
    auto g = Numbers::normal(type(), n, 3), gate = Numbers::normal(type(), n, 1, 4.0f), up = Numbers::normal(type(), n, 2);
    auto dgate = g, dup = g;
    const auto out = run({dgate, dup}, [&](Site& site, std::vector<Numbers>& to) {
      const void *upstream = at(site, g), *a = at(site, gate), *b = at(site, up);
      void *to_gate = at(site, to[0]), *to_up = at(site, to[1]);
      site.on_device() ? swiglu_elements_backward_cuda(type(), upstream, a, b, n, to_gate, to_up, nullptr)
                       : detail::launch_swiglu_backward(site.host(), type(), upstream, a, b, n, to_gate, to_up);
    });
    swiglu_elements_backward_reference(type(), g.data(), gate.data(), up.data(), n, dgate.data(), dup.data());
    // s + gate · s · (1 − s) may cancel; both terms are below 1 + |gate|.
    expect_close(out[0], dgate, [&](int64_t i) {
      return unit() * std::abs(dgate[i]) + 24 * kUnit * std::abs(g[i] * up[i]) * (1 + std::abs(gate[i])) + 1e-37;
    }, "gate " + std::to_string(n));
    expect_close(out[1], dup, [&](int64_t i) { return (24 * kUnit + unit()) * std::abs(dup[i]) + 1e-37; }, "up " + std::to_string(n));
  }
}

constexpr Gelu kForms[] = {Gelu::kExact, Gelu::kTanh, Gelu::kQuick};

TEST_P(RowsCuda, GeluAndItsSlope) {
  for (const Gelu form : kForms)
    for (const int64_t n : flat_sizes(place())) {
      auto x = Numbers::normal(type(), n, 1, 3.0f), g = Numbers::normal(type(), n, 2), y = x, dx = x;
      const auto out = run({y, dx}, [&](Site& site, std::vector<Numbers>& to) {
        const void *from = at(site, x), *upstream = at(site, g);
        void *value = at(site, to[0]), *slope = at(site, to[1]);
        if (site.on_device()) {
          gelu_elements_cuda(type(), form, from, n, value, nullptr);
          gelu_elements_backward_cuda(type(), form, upstream, from, n, slope, nullptr);
        } else {
          detail::launch_gelu(site.host(), type(), form, from, n, value);
          detail::launch_gelu_backward(site.host(), type(), form, upstream, from, n, slope);
        }
      });
      gelu_elements_reference(type(), form, x.data(), n, y.data());
      gelu_elements_backward_reference(type(), form, g.data(), x.data(), n, dx.data());
      const auto what = "form " + std::to_string(static_cast<int>(form)) + ", " + std::to_string(n);
      // exp's argument, as large as 1.7 |x| (1 + 0.045 x²) or x²/2, errs by 2u of itself, which comes out as a relative error of the tail.
      // Below exp(−87), 1.7e-38, the tail is cut. The slope has two terms that may cancel, both below 1 + |x|.
      expect_close(out[0], y, [&](int64_t i) {
        const double size = std::abs(x[i]), argument = 2 * size * (1 + size / 4 + 0.05 * size * size);
        return (24 * kUnit + unit() + 2 * kUnit * argument) * std::abs(y[i]) + 2e-38 * size;
      }, what);
      expect_close(out[1], dx, [&](int64_t i) {
        return unit() * std::abs(dx[i]) + 32 * kUnit * std::abs(g[i]) * (1 + std::abs(x[i])) + 1e-37;
      }, "slope, " + what);
    }
}

TEST_P(RowsCuda, ActivationsOfHugeNumbersAndOfNone) {
  const float huge[] = {1e4f, -1e4f, 60.0f, -60.0f, 3e38f, -1e30f, std::numeric_limits<float>::quiet_NaN()};
  for (const Gelu form : kForms) {
    Numbers x(type(), 7), y(type(), 7), ones(type(), 7);
    for (int64_t i = 0; i < 7; ++i) x.set(i, huge[i]), ones.set(i, 1.0f);
    const auto out = run({y, y, y}, [&](Site& site, std::vector<Numbers>& to) {
      const void *from = at(site, x), *one = at(site, ones);
      void *value = at(site, to[0]), *slope = at(site, to[1]), *gated = at(site, to[2]);
      if (site.on_device()) {
        gelu_elements_cuda(type(), form, from, 7, value, nullptr);
        gelu_elements_backward_cuda(type(), form, one, from, 7, slope, nullptr);
        swiglu_elements_cuda(type(), from, one, 7, gated, nullptr);
      } else {
        detail::launch_gelu(site.host(), type(), form, from, 7, value);
        detail::launch_gelu_backward(site.host(), type(), form, one, from, 7, slope);
        detail::launch_swiglu(site.host(), type(), from, one, 7, gated);
      }
    });
    for (const int64_t i : {0, 2, 4}) {
      EXPECT_EQ(out[0][i], x[i]);
      EXPECT_NEAR(out[1][i], 1.0, 1e-6);
      EXPECT_EQ(out[2][i], x[i]);
    }
    for (const int64_t i : {1, 3, 5}) {
      EXPECT_LE(std::abs(out[0][i]), 2e-38 * std::abs(x[i]));
      EXPECT_NEAR(out[1][i], 0.0, 1e-6);
    }
    for (const auto& result : out) EXPECT_TRUE(std::isnan(result[6]));
  }
}

TEST_P(RowsCuda, RotaryTurnsAndTurnsBack) {
  for (const int64_t tokens : sizes_at<int64_t>(place(), {0, 1, 5, 131}, {4099}))
    for (const int64_t heads : {1, 3})
      for (const int64_t width : {2, 6, 16, 30, 64, 96, 130}) {
        const int64_t n = tokens * heads * width;
        auto x = Numbers::normal(type(), n, 1), angle = Numbers::normal(Element::kFloat32, tokens * width / 2, 2, 10.0f);
        auto cosine = angle, sine = angle, expected = x;
        for (int64_t i = 0; i < angle.n; ++i)
          cosine.set(i, static_cast<float>(std::cos(angle[i]))), sine.set(i, static_cast<float>(std::sin(angle[i])));
        const auto turn = [&](Numbers from, float sign) {
          return run({from}, [&](Site& site, std::vector<Numbers>& to) {  // in place
            const float *c = floats(site, cosine), *s = floats(site, sine);
            void* y = at(site, to[0]);
            site.on_device() ? rotate_halves_rows_cuda(type(), y, c, s, sign, tokens, heads, width, y, nullptr)
                             : detail::launch_rotate_halves(site.host(), type(), y, c, s, sign, tokens, heads, width, y);
          })[0];
        };
        const auto turned = turn(x, 1.0f), back = turn(turned, -1.0f);
        rotate_halves_rows_reference(type(), x.data(), cosine.floats(), sine.floats(), 1.0f, tokens, heads, width, expected.data());
        // Two products and a sum of numbers below 6 (N(0, 1) at these sizes): 3u of 12. Back again, the first result's rounding (of numbers
        // below 9) comes through both terms, then one more of x.
        expect_close(turned, expected, [&](int64_t i) { return unit() * std::abs(expected[i]) + 36 * kUnit; }, "forward");
        expect_close(back, x, [&](int64_t) { return 3 * 9 * unit(); }, "back");
      }
}

TEST_P(RowsCuda, NothingBeyondTheEndIsTouched) {
  // An aligned piece that ends within a thread's eight: the packs before it, one by one at its end.
  auto x = Numbers::normal(type(), 64, 1), y = Numbers::normal(type(), 64, 2);
  const auto out = run({y}, [&](Site& site, std::vector<Numbers>& to) {
    const void* from = at(site, x);
    void* product = at(site, to[0]);
    site.on_device() ? swiglu_elements_cuda(type(), from, from, 43, product, nullptr)
                     : detail::launch_swiglu(site.host(), type(), from, from, 43, product);
  });
  for (int64_t i = 43; i < 64; ++i) EXPECT_EQ(out[0][i], y[i]);
  for (int64_t i = 0; i < 43; ++i) EXPECT_NE(out[0][i], y[i]);
}

TEST(RowsCudaArguments, WithoutKernelsTheErrorSaysSo) {
  if (cuda_kernels_compiled()) GTEST_SKIP() << "this build has CUDA kernels";
  EXPECT_THROW(gelu_elements_cuda(Element::kFloat32, Gelu::kExact, nullptr, 0, nullptr, nullptr), Unavailable);
  EXPECT_THROW(rms_norm_rows_cuda(Element::kFloat32, nullptr, nullptr, 0, 0, 0, nullptr, nullptr, nullptr), Unavailable);
}

}  // namespace
}  // namespace graft::kernels
