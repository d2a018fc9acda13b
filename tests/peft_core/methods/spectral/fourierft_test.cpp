#include "peft_core/methods/spectral/fourierft.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <numbers>

#include "kernels/base/error.h"
#include "peft_core/methods/spectral/spectrum.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::compare_with_float64;
using testing::relative_error;
using testing::tiny_batch;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// The double sum of the header, in float64, at the frequencies that torch.randperm gives.
at::Tensor update_of(const at::Tensor& c, int64_t out, int64_t in, int64_t seed) {
  const auto drawn = at::randperm(out * in, at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed)), at::kLong);
  auto update = at::zeros({out, in}, at::kDouble);
  const auto o = at::arange(out, at::kDouble).unsqueeze(1), i = at::arange(in, at::kDouble).unsqueeze(0);
  for (int64_t k = 0; k < c.size(0); ++k) {
    const auto place = drawn[k].item<int64_t>();
    const double u = static_cast<double>(place / in), v = static_cast<double>(place % in);
    const auto turns = o * (u / static_cast<double>(out)) + i * (v / static_cast<double>(in));
    update = update + c[k] * at::cos(turns * (2 * std::numbers::pi)) / static_cast<double>(out * in);
  }
  return update;
}

// Few and all frequencies, square and oblong, even and odd: the half spectrum keeps other columns for each.
TEST(Spectrum, UpdateIsTheDoubleSumOfCosinesWithItsGradient) {
  for (const auto& [out, in, n] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{{1, 1, 1}, {4, 6, 24}, {5, 7, 35}, {7, 4, 28}, {12, 31, 40}, {64, 32, 3}}) {
    const Spectrum spectrum(out, in, n, 777);
    at::manual_seed(1);
    const auto errors = compare_with_float64([&](const auto& v) { return spectrum.update(v[0]); },
                                             [&, o = out, i = in](const auto& v) { return update_of(v[0], o, i, 777); },
                                             {at::randn({n}).requires_grad_()});
    // Some ten butterflies of fp32 on values of one size.
    EXPECT_LT(errors.worst(), 64 * 0x1p-24) << out << " x " << in << ", " << n;
  }
}

TEST(Spectrum, AllWaysGiveTheSameUpdate) {
  for (const auto& [out, in, n] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{{64, 96, 5}, {33, 47, 4}, {128, 64, 1}}) {
    const Spectrum spectrum(out, in, n, 3);
    ASSERT_TRUE(spectrum.thin());
    at::manual_seed(2);
    const auto c = at::randn({n}), x = at::randn({9, in});
    const auto update = spectrum.update(c);
    EXPECT_LT(relative_error(at::mm(spectrum.up(c), spectrum.down()), update), 64 * 0x1p-24);
    EXPECT_LT(relative_error(spectrum.apply(x, c), at::mm(x, update.t()), 1e-6), 256 * 0x1p-24);
  }
  EXPECT_FALSE(Spectrum(64, 64, 1000, 3).thin());
}

const LinearSlot& first_slot(const testing::Adapted& adapted) { return *adapted.model->places().linears.front(); }

// Two rows take the way of few rows, 40 the way of many; 4 frequencies that of thin factors, 1000 the dense one.
TEST(Fourierft, OutputAndGradientsAreThoseOfTheFormulaOnEveryWay) {
  for (const int64_t n : {4, 1000})
    for (const int64_t rows : {2, 40}) {
      const auto adapted = adapt("fourierft", "targets: [q_proj]\nscaling: 30\nn_frequency: " + std::to_string(n));
      adapted.disturb(3);
      const auto& slot = first_slot(adapted);
      const auto c = adapted.attachment->state().at(slot.name() + ".fourierft_spectrum");
      const auto exact_c = c.detach().to(at::kDouble).requires_grad_();
      at::manual_seed(1);
      const auto x = at::randn({rows, 64}).requires_grad_(), g = at::randn({rows, 64});
      const auto exact_x = x.detach().to(at::kDouble).requires_grad_();
      const auto weight = slot.base()->weight().to(at::kDouble) + update_of(exact_c, 64, 64, 777) * 30;
      const auto expected = at::mm(exact_x, weight.t()) + slot.bias().to(at::kDouble);
      torch::autograd::backward({expected}, {g.to(at::kDouble)});

      const auto y = slot.forward(x, {});
      torch::autograd::backward({y}, {g});
      // Sums of 64 terms in fp32, and the transforms' ten steps.
      constexpr double kTolerance = 2 * 64 * 0x1p-24;
      EXPECT_LT(relative_error(y, expected), kTolerance) << n << " frequencies, rows " << rows;
      EXPECT_LT(relative_error(x.grad(), exact_x.grad()), kTolerance) << n << " frequencies, rows " << rows;
      EXPECT_LT(relative_error(c.grad(), exact_c.grad()), kTolerance) << n << " frequencies, rows " << rows;
    }
}

TEST(Fourierft, TheSeedOfTheOptionDecidesTheFrequenciesAndNotTheRuns) {
  const auto logits = [](const std::string& options, uint64_t seed) {
    const auto adapted = adapt("fourierft", options, "qwen2", testing::kDense, seed);
    adapted.disturb(3);
    return adapted.logits(tiny_batch());
  };
  EXPECT_TRUE(at::equal(logits("", 1), logits("", 2)));
  EXPECT_FALSE(at::equal(logits("", 1), logits("random_loc_seed: 1", 1)));
}

TEST(Fourierft, NormalStartFollowsTheRunsSeedAndIsNotTheIdentity) {
  const auto start = [](uint64_t seed) { return adapt("fourierft", "init: normal", "qwen2", testing::kDense, seed).trainable().front().second; };
  EXPECT_TRUE(at::equal(start(1), start(1)));
  EXPECT_FALSE(at::equal(start(1), start(2)));
  EXPECT_NEAR(start(1).std().item<double>(), 1.0, 0.1);  // 1000 numbers: the deviation is known to 1 / √2000 = 0.022
}

TEST(Fourierft, NumbersOfFrequenciesThatDoNotFitAreRefusedAndPatternsAreHeard) {
  EXPECT_THAT(testing::refusal("fourierft", "n_frequency: 0"), HasSubstr("method.n_frequency"));
  EXPECT_THAT(testing::refusal("fourierft", "n_frequency: 4097\ntargets: [q_proj]"), AllOf(HasSubstr("q_proj"), HasSubstr("1..4096")));
  EXPECT_THAT(testing::refusal("fourierft", "n_frequency_pattern: {no_such: 4}"), HasSubstr("no_such"));
  const auto adapted = adapt("fourierft", "n_frequency: 50\nn_frequency_pattern: {layers.1.self_attn.q_proj: 7}\ntargets: [q_proj]");
  EXPECT_EQ(adapted.trainable().at(0).second.numel(), 50);
  EXPECT_EQ(adapted.trainable().at(1).second.numel(), 7);
}

TEST(Fourierft, AnOptionOfPeftsThatWouldChangeTheResultIsRefused) {
  auto published = adapt("fourierft").attachment->published_config();
  published["fan_in_fan_out"] = true;
  EXPECT_THROW(find_method("fourierft").from_published(published), InvalidArgument);
}

}  // namespace
}  // namespace graft::peft
