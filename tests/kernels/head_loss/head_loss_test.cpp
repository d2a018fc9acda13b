#include "kernels/head_loss/head_loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/head_loss/variants.h"
#include "tests/kernels/head_loss/head_case.h"

namespace graft::kernels {
namespace {

void check_shape(const HeadShape& shape) {
  HeadCase c(shape);
  check_case(c);
}

TEST(HeadLoss, EveryVariantGivesLossGradientAndBestWordForAllSizesAroundATile) {
  for (const int64_t rows : {0, 1, 15, 16, 17, 33}) {
    for (const int64_t width : {1, 31, 32, 33, 48, 64, 100}) {
      for (const int64_t vocabulary : {1, 2, 31, 32, 33, 65, 130}) {
        check_shape({rows, width, vocabulary, (rows + width + vocabulary) % 3 * 5});
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(HeadLoss, EveryVariantGivesThemForLargerSizes) {
  for (const auto& shape : {HeadShape{100, 32, 4097}, {33, 48, 1000}, {257, 64, 200}, {257, 100, 33, 3}, {5, 576, 4097},
                            {100, 576, 100}, {257, 576, 33}, {9, 64, 49152}, {5, 896, 1500, 8}, {40, 1024, 65}, {3, 4096, 300}}) {
    check_shape(shape);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(HeadLoss, LargeLogitsNeitherOverflowNorVanish) {
  for (const float size : {10.0f, 100.0f, 1e3f, 1e4f}) {
    for (const auto& [width, vocabulary] : {std::pair<int64_t, int64_t>{32, 2500}, {1, 70}, {48, 33}}) {
      check_shape({33, width, vocabulary, 0, size});
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

/// Logits that grow or fall from word to word by thousands, so that sums have to be scaled again and again.
TEST(HeadLoss, LogitsMayGrowOrFallThroughTheVocabulary) {
  for (const int64_t width : {2, 576}) {
    constexpr int64_t kRows = 10, kWords = 2600;  // three calls of the source
    HeadCase c({kRows, width, kWords, 0, 8192.0f});
    for (int64_t word = 0; word < kWords; ++word) {
      const float rising = static_cast<float>(2 * word - kWords) / static_cast<float>(kWords);
      for (int64_t i = 0; i < width; ++i) c.weight.at(word, i) = float_to_bfloat16(i == 0 ? rising : 0.0f);
    }
    for (int64_t row = 0; row < kRows; ++row) {
      c.hidden.at(row, 0) = float_to_bfloat16((row % 2 == 0 ? 1.0f : -1.0f) * std::exp2(static_cast<float>(row) * 1.5f - 1.0f));
      c.targets[static_cast<size_t>(row)] = row % 3 == 0 ? kWords - 1 : row % 3 == 1 ? 0 : 2000;
    }
    check_case(c);
  }
}

TEST(HeadLoss, AllLogitsMayBeFarBelowOrAboveZero) {
  for (const bool below : {true, false}) {
    for (const float size : {1.0f, 10.0f, 1000.0f}) {
      HeadCase c({20, 48, 2200, 0, size});
      for (auto& value : c.hidden.values) value = static_cast<uint16_t>(value & 0x7fffu);
      for (auto& value : c.weight.values) value = static_cast<uint16_t>(below ? value | 0x8000u : value & 0x7fffu);
      check_case(c);
    }
  }
}

/// What rounding took from the target's probability must be scaled like the sums when a far larger logit comes.
TEST(HeadLoss, LogitsMayGrowAfterTheTarget) {
  const int64_t later = head_loss_words_at_once(2) + 50;
  HeadCase c({20, 2, later + 100, 0, 128.0f});
  for (int64_t row = 0; row < 20; ++row) c.hidden.at(row, 0) = float_to_bfloat16(128.0f), c.hidden.at(row, 1) = 0;
  for (int64_t word = 0; word < later + 100; ++word) c.weight.at(word, 0) = float_to_bfloat16(word == later ? 1.0f : 0.0f);
  for (int64_t row = 0; row < 20; ++row) {
    c.targets[static_cast<size_t>(row)] = row;
    c.weight.at(row, 0) = float_to_bfloat16(0.3f - 0.01f * static_cast<float>(row));
  }
  check_case(c);
}

TEST(HeadLoss, TheGradientOfARowThatIsSureKeepsItsDigits) {
  HeadCase c({32, 64, 500});
  for (int64_t row = 0; row < 32; ++row) {
    for (int64_t i = 0; i < 64; ++i) c.hidden.at(row, i) = float_to_bfloat16(c.weight.value(c.targets[static_cast<size_t>(row)], i) * 0.9f);
  }
  check_case(c);  // the tolerance follows 1 - p[target]
  const auto result = c.run(head_loss);
  EXPECT_LT(*std::min_element(result.nll.begin(), result.nll.end()), 0.02f) << "no row was sure";
}

TEST(HeadLoss, FirstAndLastWordAreTargetsLikeOthers) {
  for (const int64_t vocabulary : {1, 33, 1025, 1600}) {
    HeadCase c({6, 576, vocabulary});
    for (size_t row = 0; row < 6; ++row) c.targets[row] = row % 2 == 0 ? 0 : vocabulary - 1;
    check_case(c);
  }
}

TEST(HeadLoss, TheFirstOfEqualWordsIsBest) {
  HeadCase c({20, 32, 3000});
  for (int64_t word = 0; word < 3000; ++word) {
    for (int64_t i = 0; i < 32; ++i) c.weight.at(word, i) = c.weight.at(word % 7, i);
  }
  for (const int64_t first : {0, 3, 40, 1500, 2990}) {  // words before `first` get the lowest logit of all
    for (int64_t word = 0; word < first; ++word) {
      for (int64_t i = 0; i < 32; ++i) c.weight.at(word, i) = float_to_bfloat16(-1.0f);
    }
    for (auto& value : c.hidden.values) value = static_cast<uint16_t>(value & 0x7fffu);
    const auto expected = c.run(detail::head_loss_reference);
    for_each_variant([&](const auto& variant, const std::string& name) {
      EXPECT_EQ(c.run(variant.run).best, expected.best) << name << first;
    });
  }
}

TEST(HeadLoss, ARowThatIsNotFiniteSpoilsOnlyItself) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  HeadCase c({40, 100, 1100});
  const auto clean = c.hidden.values;
  for_each_variant([&](const auto& variant, const std::string& name) {
    c.hidden.values = clean;
    const auto expected = c.run(variant.run);
    c.hidden.at(0, 99) = 0x7fff, c.hidden.at(17, 0) = float_to_bfloat16(kInfinity), c.hidden.at(39, 50) = float_to_bfloat16(-kInfinity);
    const auto got = c.run(variant.run);
    for (int64_t row = 0; row < 40; ++row) {
      const auto at = static_cast<size_t>(row);
      const bool spoilt = row == 0 || row == 17 || row == 39;
      ASSERT_EQ(std::isnan(got.nll[at]), spoilt) << name << row;
      ASSERT_EQ(got.best[at], spoilt ? 0 : expected.best[at]) << name << row;
      ASSERT_TRUE(spoilt || got.nll[at] == expected.nll[at]) << name << row;
      for (size_t i = at * 100; i < (at + 1) * 100; ++i) {
        ASSERT_EQ(std::isnan(bfloat16_to_float(got.gradient[i])), spoilt) << name << row;
        ASSERT_TRUE(spoilt || got.gradient[i] == expected.gradient[i]) << name << row;
      }
    }
  });
}

TEST(HeadLoss, BitsDoNotDependOnThreadsRowsTheRunOrWhatIsWanted) {
  const int most = omp_get_max_threads();
  for (const auto& shape : {HeadShape{9, 576, 1100, 0, 0.3f}, {33, 48, 2500, 2}, {257, 64, 77, 0, 50.0f}}) {
    HeadCase c(shape);
    for_each_variant([&](const auto& variant, const std::string& name) {
      omp_set_num_threads(1);
      const auto alone = c.run(variant.run);
      for (const int threads : {1, 2, 2, 2, 3, 4}) {
        omp_set_num_threads(threads);
        EXPECT_TRUE(c.run(variant.run).same(alone)) << name << name_of(shape) << ", threads " << threads;
      }
      EXPECT_EQ(c.run(variant.run, {false, false}).nll, alone.nll) << name;
      EXPECT_EQ(c.run(variant.run, {false, true}).best, alone.best) << name;
      EXPECT_EQ(c.run(variant.run, {true, false}).gradient, alone.gradient) << name;
      c.p.rows = 1;  // the first row by itself
      const auto first = c.run(variant.run);
      EXPECT_EQ(first.nll[0], alone.nll[0]) << name;
      EXPECT_TRUE(std::equal(first.gradient.begin(), first.gradient.begin() + shape.width, alone.gradient.begin())) << name;
      c.p.rows = shape.rows;
    });
  }
  omp_set_num_threads(most);
}

TEST(HeadLoss, WordsMayBeExpandedIntoOneBuffer) {
  for (const auto& shape : {HeadShape{33, 100, 3000, 3}, {9, 576, 2500}, {5, 48, 1}}) {
    HeadCase c(shape);
    for_each_variant([&](const auto& variant, const std::string& name) {
      const auto direct = c.p.words;
      const auto expected = c.run(variant.run);
      c.p.words = c.expanding_source();
      EXPECT_TRUE(c.run(variant.run).same(expected)) << name << name_of(shape);
      c.p.words = direct;
    });
  }
}

TEST(HeadLoss, TheSourceIsAskedInOrderOutsideOfParallelRegions) {
  HeadCase c({5, 576, 2500});
  for_each_variant([&](const auto& variant, const std::string& name) {
    int64_t next = 0;
    const auto direct = c.p.words;
    c.p.words = [&](int64_t first, int64_t count) {
      EXPECT_EQ(first, next) << name;
      EXPECT_EQ(first % 32, 0) << name;
      EXPECT_TRUE(count % 32 == 0 || first + count == 2500) << name;
      EXPECT_LE(count, head_loss_words_at_once(576)) << name;
      EXPECT_FALSE(omp_in_parallel()) << name;
      next = first + count;
      return direct(first, count);
    };
    c.run(variant.run);
    EXPECT_EQ(next, 2500) << name;
    c.p.words = [](int64_t, int64_t) -> WordRows { throw std::runtime_error("a file went away"); };
    EXPECT_THROW(c.run(variant.run), std::runtime_error) << name;
    c.p.words = direct;
  });
}

TEST(HeadLoss, NothingBehindTheEndIsTouched) {
  for (const auto& shape : {HeadShape{1, 1, 1}, {3, 31, 5, 2}, {17, 32, 33}, {33, 100, 70, 3}, {64, 64, 64}, {35, 1100, 40},
                            {9, 576, 1030, 1}}) {
    HeadCase c(shape);
    const auto expected = c.run(detail::head_loss_reference);
    Guarded hidden(c.hidden.values), weight(c.weight.values);
    for_each_variant([&](const auto& variant, const std::string& name) {
      const std::vector<uint16_t> floats(2 * c.targets.size()), integers(4 * c.targets.size());
      Guarded gradient(expected.gradient), nll(floats), best(integers);
      Guarded targets({reinterpret_cast<const uint16_t*>(c.targets.data()), 4 * c.targets.size()});
      std::fill_n(gradient.data(), expected.gradient.size(), kUntouched);
      HeadLoss p = c.p;
      p.hidden = hidden.data(), p.gradient = gradient.data(), p.nll = nll.floats();
      p.best = reinterpret_cast<int64_t*>(best.data()), p.targets = reinterpret_cast<int64_t*>(targets.data());
      p.words = [&](int64_t first, int64_t) { return WordRows{weight.data() + first * c.weight.stride, c.weight.stride}; };
      variant.run(p);
      const HeadResult got{{p.nll, p.nll + shape.rows},
                           {p.gradient, p.gradient + expected.gradient.size()},
                           {p.best, p.best + shape.rows}};
      expect_close(c, got, expected, name + name_of(shape));
    });
  }
}

TEST(HeadLoss, TheReferenceGradientIsThatOfItsLoss) {
  constexpr int64_t kRows = 3, kWidth = 5, kWords = 11;
  constexpr double kStep = 1e-5;  // truncation is about its square, rounding 2^-53 / step
  auto hidden = random_floats(kRows * kWidth, 1), weight = random_floats(kWords * kWidth, 2);
  std::vector<double> h(hidden.begin(), hidden.end()), gradient(h.size()), unused(h.size());
  const std::vector<double> w(weight.begin(), weight.end());
  const std::vector<int64_t> targets = {0, 10, 4};
  std::vector<int64_t> best(kRows);
  const detail::ExactHeadLoss p{kRows, kWidth, kWords, h.data(), w.data(), targets.data()};
  std::vector<double> nll(kRows), above(kRows), below(kRows);
  detail::head_loss_exact(p, nll.data(), gradient.data(), best.data());
  for (size_t i = 0; i < h.size(); ++i) {
    const size_t row = i / kWidth;
    const double value = h[i];
    h[i] = value + kStep;
    detail::head_loss_exact(p, above.data(), nullptr, best.data());
    h[i] = value - kStep;
    detail::head_loss_exact(p, below.data(), nullptr, best.data());
    h[i] = value;
    EXPECT_NEAR((above[row] - below[row]) / (2 * kStep), gradient[i], 1e-9) << i;
  }
}

TEST(HeadLoss, MoreRowsThanScratchMemoryTakesAreDoneInPasses) {
  constexpr int64_t kWidth = 8192;
  const int64_t rows = head_loss_rows_of_pass(kWidth) + 33;
  HeadCase c({rows, kWidth, 3, 0, 0.01f});
  int calls = 0;
  const auto direct = c.p.words;
  c.p.words = [&](int64_t first, int64_t count) { return ++calls, direct(first, count); };
  const auto all = c.run(head_loss);
  EXPECT_EQ(calls, 2);
  const int64_t row = rows - 33;  // the second pass begins here
  c.p.hidden += row * c.p.hidden_stride, c.p.targets += row, c.p.rows = 33;
  const auto rest = c.run(head_loss);
  EXPECT_TRUE(std::equal(all.nll.begin() + row, all.nll.end(), rest.nll.begin()));
  EXPECT_TRUE(std::equal(all.gradient.begin() + row * kWidth, all.gradient.end(), rest.gradient.begin()));
}

TEST(HeadLoss, ScratchMemoryIsBounded) {
  constexpr int64_t kMost = 64 << 20;
  for (const int64_t width : {1, 32, 576, 896, 2048, 4096, 8192}) {
    for (const int64_t rows : {0, 1, 2048, 1 << 20}) {
      EXPECT_LE(head_loss_scratch(rows, width, true), kMost) << rows << " x " << width;
      EXPECT_LE(head_loss_scratch(rows, width, false), head_loss_scratch(rows, width, true)) << rows << " x " << width;
    }
  }
  EXPECT_GE(head_loss_rows_of_pass(896), 4096);
}

TEST(HeadLoss, NoRowsAreNoWork) {
  HeadLoss p;
  p.width = 32, p.vocabulary = 100;
  p.words = [](int64_t, int64_t) -> WordRows { throw std::logic_error("was asked for words"); };
  EXPECT_NO_THROW(head_loss(p));
}

TEST(HeadLoss, WrongUseIsRefused) {
  HeadCase c({4, 40, 64});
  const auto refused = [&](auto change, const char* word) {
    c.run([&](const HeadLoss& p) {
      HeadLoss changed = p;
      auto targets = c.targets;
      changed.targets = targets.data();
      change(changed, targets);
      try {
        head_loss(changed);
        FAIL() << "took a wrong " << word;
      } catch (const InvalidArgument& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr(word));
      }
    });
  };
  refused([](auto& p, auto&) { p.rows = -1; }, "shape");
  refused([](auto& p, auto&) { p.width = 0; }, "shape");
  refused([](auto& p, auto&) { p.vocabulary = 0; }, "vocabulary");
  refused([](auto& p, auto&) { p.hidden_stride = 39; }, "39");
  refused([](auto& p, auto&) { p.gradient_stride = 39; }, "gradient");
  refused([](auto&, auto& targets) { targets[2] = 64; }, "target of row 2");
  refused([](auto&, auto& targets) { targets[0] = -1; }, "target of row 0");
}

}  // namespace
}  // namespace graft::kernels
