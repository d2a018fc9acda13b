#include "kernels/head_loss/head_loss_cuda.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "kernels/head_loss/head_loss_launch.h"
#include "kernels/head_loss/variants.h"
#include "tests/kernels/base/places.h"

namespace graft::kernels {
namespace {

/// A vector of either element type.
struct Numbers {
  HeadElement type;
  std::vector<float> wide;
  std::vector<uint16_t> narrow;

  Numbers(HeadElement t, size_t count) : type(t), wide(t == HeadElement::kFloat32 ? count : 0), narrow(t == HeadElement::kFloat32 ? 0 : count) {}
  size_t size() const { return wide.size() + narrow.size(); }
  double operator[](size_t i) const { return static_cast<double>(type == HeadElement::kFloat32 ? wide[i] : bfloat16_to_float(narrow[i])); }
  void set(size_t i, double v) {
    if (type == HeadElement::kFloat32) {
      wide[i] = static_cast<float>(v);
    } else {
      narrow[i] = float_to_bfloat16(static_cast<float>(v));
    }
  }
  void* at(Site& site) { return type == HeadElement::kFloat32 ? static_cast<void*>(site.at(wide)) : site.at(narrow); }
  std::vector<double> doubles() const {
    std::vector<double> values;
    for (size_t i = 0; i < size(); ++i) values.push_back((*this)[i]);
    return values;
  }
};

struct Result {
  std::vector<float> nll;
  Numbers gradient;
  std::vector<int64_t> best;
};

struct HeadCase {
  HeadElement type;
  size_t rows, width, vocabulary;
  Numbers hidden, words;
  std::vector<int64_t> targets;

  HeadCase(HeadElement t, size_t m, size_t c, size_t v, double scale)
      : type(t), rows(m), width(c), vocabulary(v), hidden(t, m * c), words(t, v * c), targets(m) {
    std::mt19937_64 random(m + c + v);
    std::normal_distribution<double> normal;
    for (size_t i = 0; i < hidden.size(); ++i) hidden.set(i, scale * normal(random) / std::sqrt(static_cast<double>(c)));
    for (size_t i = 0; i < words.size(); ++i) words.set(i, normal(random));
    for (auto& target : targets) target = static_cast<int64_t>(random() % v);
    if (m > 1) targets[0] = 0, targets[1] = static_cast<int64_t>(v) - 1;
  }

  /// The product before absorb: (rows, count), rounded to the type.
  Numbers logits(size_t first, size_t count) const {
    Numbers z(type, rows * count);
    for (size_t m = 0; m < rows; ++m)
      for (size_t v = 0; v < count; ++v) {
        double dot = 0;
        for (size_t i = 0; i < width; ++i) dot += hidden[m * width + i] * words[(first + v) * width + i];
        z.set(m * count + v, dot);
      }
    return z;
  }
  /// The product after it: (rows, width).
  Numbers part(const Numbers& exponentials, size_t first, size_t count) const {
    Numbers sums(type, rows * width);
    for (size_t m = 0; m < rows; ++m)
      for (size_t i = 0; i < width; ++i) {
        double sum = 0;
        for (size_t v = 0; v < count; ++v) sum += exponentials[m * count + v] * words[(first + v) * width + i];
        sums.set(m * width + i, sum);
      }
    return sums;
  }
};

/// The whole walk, with the products in plain loops on the host.
class Walk {
 public:
  Walk(Place place, const HeadCase& c)
      : place_(place), c_(c), top_(c.rows), sum_(c.rows), target_logit_(c.rows), rounding_(c.rows), rescale_(c.rows), best_(c.rows),
        targets_(c.targets), sums_(c.rows * c.width), target_words_(c.type, c.rows * c.width) {}

  Result run(size_t at_once) {
    {
      Site site(place_);
      const auto known = running(site);
      float* sums = site.at(sums_);
      site.on_device() ? begin_head_loss_cuda(known, width(), sums, nullptr)
                       : detail::launch_begin_head_loss(site.host(), known, width(), sums);
    }
    for (size_t first = 0; first < c_.vocabulary; first += at_once) take(first, std::min(at_once, c_.vocabulary - first));
    Result result{std::vector<float>(c_.rows), Numbers(c_.type, c_.rows * c_.width), {}};
    {
      Site site(place_);
      const auto known = running(site);
      const float* sums = site.at(sums_);
      const void* target_words = target_words_.at(site);
      float* nll = site.at(result.nll);
      void* gradient = result.gradient.at(site);
      site.on_device() ? finish_head_loss_cuda(c_.type, known, width(), sums, target_words, nll, gradient, nullptr)
                       : detail::launch_finish_head_loss(site.host(), c_.type, known, width(), sums, target_words, nll, gradient);
    }
    result.best = best_;
    return result;
  }

 private:
  int64_t width() const { return static_cast<int64_t>(c_.width); }

  HeadRunning running(Site& site) {
    return {.rows = static_cast<int64_t>(c_.rows), .targets = site.at(targets_), .top = site.at(top_), .sum = site.at(sum_),
            .target_logit = site.at(target_logit_), .target_rounding = site.at(rounding_), .rescale = site.at(rescale_),
            .best = site.at(best_)};
  }

  void take(size_t first, size_t count) {
    const HeadChunk chunk{static_cast<int64_t>(first), static_cast<int64_t>(count)};
    auto logits = c_.logits(first, count);
    {
      Site site(place_);
      const auto known = running(site);
      void* values = logits.at(site);
      site.on_device() ? absorb_logits_cuda(c_.type, known, chunk, values, nullptr)
                       : detail::launch_absorb_logits(site.host(), c_.type, known, chunk, values);
    }
    auto part = c_.part(logits, first, count);
    Numbers words(c_.type, count * c_.width);
    for (size_t i = 0; i < words.size(); ++i) words.set(i, c_.words[first * c_.width + i]);
    Site site(place_);
    const auto known = running(site);
    const void *more = part.at(site), *rows = words.at(site);
    float* sums = site.at(sums_);
    void* target_words = target_words_.at(site);
    site.on_device() ? add_head_chunk_cuda(c_.type, known, chunk, width(), more, rows, sums, target_words, nullptr)
                     : detail::launch_add_head_chunk(site.host(), c_.type, known, chunk, width(), more, rows, sums, target_words);
  }

  Place place_;
  const HeadCase& c_;
  std::vector<float> top_, sum_, target_logit_, rounding_, rescale_;
  std::vector<int64_t> best_, targets_;
  std::vector<float> sums_;
  Numbers target_words_;
};

class HeadLossCuda : public ::testing::TestWithParam<std::tuple<HeadElement, Place>> {
 protected:
  void SetUp() override {
    if (const auto why = why_not_at(place()); !why.empty()) GTEST_SKIP() << why;
  }
  HeadElement type() const { return std::get<0>(GetParam()); }
  Place place() const { return std::get<1>(GetParam()); }
  bool bf16() const { return type() == HeadElement::kBFloat16; }
};
INSTANTIATE_TEST_SUITE_P(Each, HeadLossCuda,
                         ::testing::Combine(::testing::Values(HeadElement::kFloat32, HeadElement::kBFloat16), kPlaces),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param) == HeadElement::kFloat32 ? "fp32_" : "bf16_") +
                                  name_of(std::get<1>(instance.param));
                         });

/// For this chunk size: the exact loss of logits that are rounded as the products round them.
void compare(Place place, const HeadCase& c, size_t at_once) {
  const auto result = Walk(place, c).run(at_once), host = Walk(Place::kForward, c).run(at_once);
  const auto what = std::to_string(c.rows) + " x " + std::to_string(c.width) + " x " + std::to_string(c.vocabulary);
  // Everything but nll, which takes the processor's or the device's own logarithm in double: that may round once otherwise.
  EXPECT_TRUE(same_bytes(result.gradient.wide, host.gradient.wide) && same_bytes(result.gradient.narrow, host.gradient.narrow)) << what;
  EXPECT_EQ(result.best, host.best) << what;
  const bool bf16 = c.type == HeadElement::kBFloat16;
  const double unit = bf16 ? 0x1p-8 : 0x1p-24;  // unit roundoff: bf16 has 8 significant bits
  const auto rounded = c.logits(0, c.vocabulary).doubles();  // these stand for the identity's rows as hidden
  for (size_t m = 0; m < c.rows; ++m) {
    const double* z = rounded.data() + m * c.vocabulary;
    const auto top = std::max_element(z, z + c.vocabulary);
    double sum = 0;
    for (size_t v = 0; v < c.vocabulary; ++v) sum += std::exp(z[v] - *top);
    const auto target = static_cast<size_t>(c.targets[m]);
    const double nll = *top + std::log(sum) - z[target];
    // exp and the sum's roundings, 30u of log Σ; top and target in fp32; one rounding.
    EXPECT_NEAR(result.nll[m], nll, 40 * 0x1p-24 * (1 + std::abs(*top) + std::abs(z[target]) + std::abs(nll))) << what << ", row " << m;
    EXPECT_NEAR(result.nll[m], host.nll[m], 2 * 0x1p-24 * std::abs(nll) + 1e-38) << what << ", row " << m;
    EXPECT_EQ(result.best[m], top - z) << what << ", row " << m;
    for (size_t i = 0; i < c.width; ++i) {
      double gradient = 0, terms = 0, chunk_sizes = 0, others = 0;
      for (size_t v = 0; v < c.vocabulary; ++v) {
        const double p = std::exp(z[v] - *top) / sum, w = c.words[v * c.width + i];
        gradient += p * w, terms += std::abs(p * w);
        if (v != target) others += std::abs(p * w);
        if (v % at_once == 0) chunk_sizes += 1;
      }
      gradient -= c.words[target * c.width + i];
      // Each word's exponential is rounded, the target's being made good again; so is each chunk's part, whose size the terms bound; then
      // fp32 sums, and the result once. 60u: exp, Σ, 1/Σ, share.
      const double bound = unit * (others + terms + std::abs(gradient)) + (60 + 2 * chunk_sizes) * 0x1p-24 * (terms + std::abs(c.words[target * c.width + i]));
      ASSERT_NEAR(result.gradient[m * c.width + i], gradient, bound) << what << ", row " << m << ", column " << i;
    }
  }
}

TEST_P(HeadLossCuda, TheWalkGivesTheExactLossAndGradient) {
  for (const size_t rows : {0, 1, 3})
    for (const size_t width : {1, 8, 9, 64})
      for (const size_t vocabulary : {1, 2, 7, 8, 9, 255, 1000, 2311})
        for (const size_t at_once : {8, 100, 4096}) {
          if (vocabulary / at_once > 40) continue;
          compare(place(), HeadCase(type(), rows, width, vocabulary, 3.0), at_once);
          if (HasFatalFailure()) return;
        }
  compare(place(), HeadCase(type(), 2, 2100, 300, 3.0), 128);  // a row wider than its block's threads can take at once
  compare(place(), HeadCase(type(), 2, 9, 9001, 3.0), 8500);     // and a chunk of more words than its threads keep
  if (place() == Place::kDevice) compare(place(), HeadCase(type(), 149, 72, 9001, 3.0), 4096);
}

TEST_P(HeadLossCuda, AConfidentRowKeepsTheTargetsRounding) {
  // p of the target is near 1, where bf16's steps are 1/256: without the share the gradient would err by up to 0.002 · W[target].
  auto c = HeadCase(type(), 1, 16, 50, 0.0);
  for (size_t i = 0; i < 16; ++i) c.hidden.set(i, c.words[7 * 16 + i] * 0.15);
  c.targets[0] = 7;
  compare(place(), c, 16);
}

TEST_P(HeadLossCuda, TheTargetsRoundingIsKeptAndMadeGoodAgain) {
  // The target's chunk, then one with a larger logit, which shrinks what was kept.
  std::vector<int64_t> targets = {3}, best(1);
  std::vector<float> top(1), sum(1), target_logit(1), rounding(1), rescale(1), nll(1);
  Numbers logits(type(), 10), later(type(), 10);
  for (size_t i = 0; i < 10; ++i) logits.set(i, 0.3 * static_cast<double>(i)), later.set(i, i == 5 ? 4.0 : 0.0);
  const double exponential = std::exp(logits[3] - logits[9]);
  const auto known = [&](Site& site) {
    return HeadRunning{.rows = 1, .targets = site.at(targets), .top = site.at(top), .sum = site.at(sum),
                       .target_logit = site.at(target_logit), .target_rounding = site.at(rounding), .rescale = site.at(rescale),
                       .best = site.at(best)};
  };
  const auto absorb = [&](Site& site, Numbers& chunk, int64_t first) {
    const auto running = known(site);
    void* values = chunk.at(site);
    site.on_device() ? absorb_logits_cuda(type(), running, {first, 10}, values, nullptr)
                     : detail::launch_absorb_logits(site.host(), type(), running, {first, 10}, values);
  };
  const double kept_logit = logits[3], first_top = logits[9];
  {
    Site site(place());
    const auto running = known(site);
    site.on_device() ? begin_head_loss_cuda(running, 0, nullptr, nullptr) : detail::launch_begin_head_loss(site.host(), running, 0, nullptr);
    absorb(site, logits, 0);
    absorb(site, later, 10);
  }
  EXPECT_EQ(target_logit[0], kept_logit);
  // exp errs by 5u, which its rounding to bf16 (up to 2^-9) is measured from; in fp32 nothing is rounded away.
  const double expected = (logits[3] - exponential) * std::exp(first_top - 4.0);
  EXPECT_NEAR(rounding[0], bf16() ? expected : 0.0, bf16() ? 8 * 0x1p-24 : 0.0);
  if (bf16()) {
    EXPECT_GT(std::abs(expected), 100 * 0x1p-24) << "too small to be seen";
  }

  // A rounding of an eighth of the sum: the gradient has to subtract 9/8 of the target's row.
  std::vector<float> sums(8, 1.0f);
  Numbers words(type(), 8), gradient(type(), 8);
  for (size_t i = 0; i < 8; ++i) words.set(i, 8.0);
  sum[0] = 4.0f, rounding[0] = 0.5f;
  {
    Site site(place());
    const auto running = known(site);
    const float* total = site.at(sums);
    const void* rows = words.at(site);
    float* loss = site.at(nll);
    void* to = gradient.at(site);
    site.on_device() ? finish_head_loss_cuda(type(), running, 8, total, rows, loss, to, nullptr)
                     : detail::launch_finish_head_loss(site.host(), type(), running, 8, total, rows, loss, to);
  }
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(gradient[i], 0.25 - 9.0);  // exact in both types
}

TEST_P(HeadLossCuda, LargeLogitsAndRisingTopsDoNotOverflow) {
  compare(place(), HeadCase(type(), 3, 16, 300, 200.0), 32);
}

TEST_P(HeadLossCuda, EqualLogitsGiveTheFirstWord) {
  HeadCase c(type(), 1, 8, 600, 1.0);
  for (size_t i = 0; i < c.words.size(); ++i) c.words.set(i, 1.0);
  EXPECT_EQ(Walk(place(), c).run(512).best[0], 0);
  for (const size_t v : {300, 17, 590})
    for (size_t i = 0; i < 8; ++i) c.words.set(v * 8 + i, c.hidden[i] > 0 ? 2.0 : -2.0);
  EXPECT_EQ(Walk(place(), c).run(64).best[0], 17);
  EXPECT_EQ(Walk(place(), c).run(600).best[0], 17);
}

TEST_P(HeadLossCuda, ARowThatIsNotFiniteIsNotANumberForItselfOnly) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    HeadCase c(type(), 3, 8, 100, 1.0), fine = c;
    c.hidden.set(8 + 3, static_cast<double>(bad));
    const auto result = Walk(place(), c).run(32), expected = Walk(place(), fine).run(32);
    for (size_t m = 0; m < 3; ++m) {
      EXPECT_EQ(std::isnan(result.nll[m]), m == 1);
      for (size_t i = 0; i < 8; ++i) {
        EXPECT_EQ(std::isnan(result.gradient[m * 8 + i]), m == 1);
        if (m != 1) {
          EXPECT_EQ(result.gradient[m * 8 + i], expected.gradient[m * 8 + i]);
        }
      }
    }
  }
}

TEST_P(HeadLossCuda, ALogitOfMinusInfinityCountsForNothing) {
  std::vector<int64_t> targets = {1}, best(1);
  std::vector<float> top(1), sum(1), target_logit(1), rounding(1), rescale(1);
  const float nothing = -std::numeric_limits<float>::infinity();
  for (const std::vector<double>& block : {std::vector<double>(10, nothing), {nothing, 2, nothing, 1, 0, 0, 0, 0, 0, 0}}) {
    Numbers logits(type(), 10);
    for (size_t i = 0; i < 10; ++i) logits.set(i, block[i]);
    {
      Site site(place());
      const HeadRunning running{.rows = 1, .targets = site.at(targets), .top = site.at(top), .sum = site.at(sum),
                                .target_logit = site.at(target_logit), .target_rounding = site.at(rounding),
                                .rescale = site.at(rescale), .best = site.at(best)};
      void* values = logits.at(site);
      if (site.on_device()) {
        begin_head_loss_cuda(running, 0, nullptr, nullptr);
        absorb_logits_cuda(type(), running, {0, 10}, values, nullptr);
      } else {
        detail::launch_begin_head_loss(site.host(), running, 0, nullptr);
        detail::launch_absorb_logits(site.host(), type(), running, {0, 10}, values);
      }
    }
    double expected = 0;
    for (size_t i = 0; i < 10; ++i) {
      const double e = block[i] == static_cast<double>(nothing) ? 0.0 : std::exp(block[i] - 2);
      expected += e;
      EXPECT_NEAR(logits[i], e, bf16() ? 0x1p-8 : 1e-6);
    }
    EXPECT_NEAR(sum[0], expected, 1e-5);
  }
}

TEST(HeadLossCudaArguments, WrongOnesAreRefused) {
  EXPECT_THROW(detail::launch_absorb_logits(HostLauncher(), HeadElement::kFloat32, {.rows = -1}, {0, 1}, nullptr), InvalidArgument);
  EXPECT_THROW(detail::launch_absorb_logits(HostLauncher(), HeadElement::kFloat32, {}, {-1, 1}, nullptr), InvalidArgument);
  EXPECT_THROW(detail::launch_absorb_logits(HostLauncher(), HeadElement::kFloat32, {}, {0, int64_t{1} << 31}, nullptr), InvalidArgument);
}

}  // namespace
}  // namespace graft::kernels
