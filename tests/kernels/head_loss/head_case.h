#pragma once

// What the tests of this folder share: one head with hidden rows and targets, its results, tolerances.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/head_loss/head_loss.h"
#include "kernels/head_loss/variants.h"
#include "tests/kernels/packed_linear/problems.h"

namespace graft::kernels {

struct HeadShape {
  int64_t rows, width, vocabulary;
  int64_t gap = 0;
  float size = 1.0f;  ///< largest hidden value; weights go to 1
};

inline std::string name_of(const HeadShape& s) {
  return std::to_string(s.rows) + " x " + std::to_string(s.width) + ", " + std::to_string(s.vocabulary) + " words, gap " +
         std::to_string(s.gap) + ", size " + std::to_string(s.size);
}

struct HeadResult {
  std::vector<float> nll;
  std::vector<uint16_t> gradient;  ///< empty: was not wanted
  std::vector<int64_t> best;

  /// Bytes, so that NaN equals NaN.
  bool same(const HeadResult& other) const {
    return nll.size() == other.nll.size() && std::memcmp(nll.data(), other.nll.data(), nll.size() * sizeof(float)) == 0 &&
           gradient == other.gradient && best == other.best;
  }
};

struct Wanted {
  bool gradient = true, best = true;
};

struct HeadCase {
  HeadShape shape;
  Matrix hidden, weight;
  std::vector<int64_t> targets;
  std::vector<uint16_t> buffer;  ///< of expanding_source()
  HeadLoss p;

  explicit HeadCase(const HeadShape& s)
      : shape(s), hidden(s.rows, s.width, s.gap, 1), weight(s.vocabulary, s.width, s.gap, 2), targets(static_cast<size_t>(s.rows)) {
    std::mt19937 random(3);
    for (auto& target : targets) target = static_cast<int64_t>(random()) % s.vocabulary;
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int64_t i = 0; i < s.width; ++i) hidden.at(row, i) = float_to_bfloat16(hidden.value(row, i) * s.size);
    }
    p.rows = s.rows, p.width = s.width, p.vocabulary = s.vocabulary;
    p.hidden = hidden.values.data(), p.hidden_stride = hidden.stride, p.targets = targets.data(), p.gradient_stride = hidden.stride;
    p.words = [this](int64_t first, int64_t) { return WordRows{weight.values.data() + first * weight.stride, weight.stride}; };
  }
  HeadCase(const HeadCase&) = delete;
  HeadCase& operator=(const HeadCase&) = delete;

  /// Copies the rows into memory of exactly their size, and spoils what it gave before.
  WordRowSource expanding_source() {
    return [this](int64_t first, int64_t count) {
      std::fill(buffer.begin(), buffer.end(), uint16_t{0x7fc0});
      buffer = std::vector<uint16_t>(static_cast<size_t>(count * shape.width));
      for (int64_t word = 0; word < count; ++word) {
        for (int64_t i = 0; i < shape.width; ++i) buffer[static_cast<size_t>(word * shape.width + i)] = weight.at(first + word, i);
      }
      return WordRows{buffer.data(), shape.width};
    };
  }

  template <class Function>
  HeadResult run(Function&& function, Wanted wanted = {}) {
    HeadResult result;
    result.nll.assign(targets.size(), -1.0f);
    if (wanted.gradient) result.gradient.assign(hidden.values.size(), kUntouched);
    if (wanted.best) result.best.assign(targets.size(), -1);
    p.nll = result.nll.data();
    p.gradient = wanted.gradient && p.rows > 0 ? result.gradient.data() : nullptr;
    p.best = wanted.best ? result.best.data() : nullptr;
    if (p.rows > 0) function(p);
    return result;
  }

  /// Products reach `size`, so a sum of n of them is added up from partial sums of at most n · size; each of its 2 n roundings is at most
  /// 2^-24 of that. Taken as a walk of random signs with a typical size of sqrt(n), far inside 2^-22 n.
  double logit_error() const { return static_cast<double>(shape.width + 4) * 0x1p-22 * static_cast<double>(shape.size); }

  double logit(int64_t row, int64_t word) {
    double sum = 0.0;
    for (int64_t i = 0; i < shape.width; ++i) {
      sum += static_cast<double>(hidden.value(row, i)) * static_cast<double>(weight.value(word, i));
    }
    return sum;
  }
};

/// nll: the errors of two logits; fp32 sums of up to 1,024 positive terms, whose errors walk as above, far inside 2^-18; one rounding.
inline double nll_tolerance(const HeadCase& c, double expected) { return 2 * c.logit_error() + 0x1p-18 + std::fabs(expected) * 0x1p-23; }

/// A gradient is Σ p W − W[target] with |W| <= 1. Each p but the target's is rounded to bf16, by 2^-8 of itself at most, and has the error
/// of its logit and of the sum; `others` is what they add up to, 1 − p[target]. Two roundings to bf16 make neighbours of the results, 2^-7 of
/// their size apart at most; sums in fp32 of values of at most 1 add 2^-20.
inline double gradient_tolerance(const HeadCase& c, double expected, double others) {
  return std::fabs(expected) * 0x1p-7 + others * (0x1p-8 + 2 * nll_tolerance(c, 0.0)) + 0x1p-20;
}

inline void expect_close(HeadCase& c, const HeadResult& got, const HeadResult& expected, const std::string& name) {
  for (int64_t row = 0; row < c.shape.rows; ++row) {
    const auto at = static_cast<size_t>(row);
    const double nll = static_cast<double>(expected.nll[at]);
    ASSERT_LE(std::fabs(static_cast<double>(got.nll[at]) - nll), nll_tolerance(c, nll)) << name << ": loss of row " << row;
    ASSERT_TRUE(got.best[at] >= 0 && got.best[at] < c.shape.vocabulary) << name << ": best word of row " << row;
    if (got.best[at] != expected.best[at]) {
      ASSERT_LE(c.logit(row, expected.best[at]) - c.logit(row, got.best[at]), 2 * c.logit_error()) << name << ": best word of row " << row;
    }
    const double others = -std::expm1(-nll);
    for (int64_t i = 0; i < c.hidden.stride; ++i) {
      const auto place = static_cast<size_t>(row * c.hidden.stride + i);
      if (place >= got.gradient.size()) break;
      if (i >= c.shape.width) {
        ASSERT_EQ(got.gradient[place], kUntouched) << name << ": wrote between rows, at " << row << " " << i;
        continue;
      }
      const double a = static_cast<double>(bfloat16_to_float(got.gradient[place]));
      const double b = static_cast<double>(bfloat16_to_float(expected.gradient[place]));
      ASSERT_LE(std::fabs(a - b), gradient_tolerance(c, b, others)) << name << ": gradient at " << row << " " << i;
    }
  }
}

/// Every variant that this machine has.
template <class Check>
void for_each_variant(Check&& check) {
  for (const auto& variant : detail::head_loss_variants()) {
    if (variant.supported()) check(variant, std::string(variant.name) + " ");
  }
}

inline void check_case(HeadCase& c) {
  const auto expected = c.run(detail::head_loss_reference);
  for_each_variant([&](const auto& variant, const std::string& name) {
    expect_close(c, c.run(variant.run), expected, name + name_of(c.shape));
  });
}

}  // namespace graft::kernels
