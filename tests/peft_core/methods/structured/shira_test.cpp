#include "peft_core/methods/structured/shira.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/autograd.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/peft_core/methods/structured/layer_against_weight.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::relative_error;
using testing::slot_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kKey = "model.layers.1.self_attn.k_proj";  // (32, 64), with a bias

at::Tensor places_of(const testing::Adapted& adapted, const std::string& layer = kKey) {
  return adapted.attachment->state().at(layer + ".shira_indices");
}

// Five rows take the way of few rows, 40 the dense one.
TEST(Shira, OutputAndGradientsAreThoseOfTheChangedElements) {
  for (const int64_t rows : {5, 40}) {
    const auto adapted = adapt("shira", "rank: 3");
    adapted.disturb(3);
    const auto& slot = slot_of(adapted, kKey);
    const auto values = adapted.attachment->state().at(kKey + ".shira_weight"), places = places_of(adapted).to(at::kLong);
    ASSERT_EQ(values.numel(), 3 * (32 + 64));
    const auto exact = values.detach().to(at::kDouble).requires_grad_();
    const auto weight = slot.base()->weight().to(at::kDouble).index_put({places[0], places[1]}, exact, /*accumulate=*/true);
    at::manual_seed(1);
    const auto x = at::randn({rows, 64}).requires_grad_(), g = at::randn({rows, 32});
    const auto exact_x = x.detach().to(at::kDouble).requires_grad_();
    const auto expected = at::mm(exact_x, weight.t()) + slot.bias().to(at::kDouble);
    torch::autograd::backward({expected}, {g.to(at::kDouble)});

    const auto y = slot.forward(x, {});
    torch::autograd::backward({y}, {g});
    constexpr double kTolerance = 2 * 64 * 0x1p-24;  // sums of 64 terms, twice
    EXPECT_LT(relative_error(y, expected), kTolerance) << rows;
    EXPECT_LT(relative_error(x.grad(), exact_x.grad()), kTolerance) << rows;
    EXPECT_LT(relative_error(values.grad(), exact.grad()), kTolerance) << rows;
  }
}

TEST(Shira, PlacesAreTheFirstOfARandomOrderInTheWeightsOrder) {
  const auto places = places_of(adapt("shira", "rank: 3\nrandom_seed: 42"));
  EXPECT_EQ(places.scalar_type(), at::kInt);
  const auto drawn = at::randperm(32 * 64, at::make_generator<at::CPUGeneratorImpl>(42), at::kLong).slice(0, 0, 3 * 96);
  EXPECT_TRUE(at::equal(places[0].to(at::kLong) * 64 + places[1], std::get<0>(drawn.sort())));
}

TEST(Shira, WithoutASeedEachLayerHasItsOwnPlacesFromTheRuns) {
  const std::string other = "model.layers.0.self_attn.k_proj";
  const auto one = adapt("shira", ""), same = adapt("shira", ""), next = adapt("shira", "", "qwen2", testing::kDense, 8);
  EXPECT_TRUE(at::equal(places_of(one), places_of(same)));
  EXPECT_FALSE(at::equal(places_of(one), places_of(next)));
  EXPECT_FALSE(at::equal(places_of(one), places_of(one, other)));
  const auto seeded = adapt("shira", "random_seed: 1");
  EXPECT_TRUE(at::equal(places_of(seeded), places_of(seeded, other)));  // as PEFT has it
}

TEST(Shira, PlacesComeFromTheFile) {
  const auto first = adapt("shira", "rank: 3"), second = adapt("shira", "rank: 3", "qwen2", testing::kDense, 8);
  first.disturb(3);
  load_state(*second.attachment, first.attachment->state(), "adapter");
  EXPECT_TRUE(at::equal(places_of(second), places_of(first)));
  const auto batch = testing::tiny_batch();
  EXPECT_TRUE(at::equal(second.logits(batch), first.logits(batch)));
}

TEST(Shira, PlacesOutsideTheWeightAreRefused) {
  for (const int64_t rows : {2, 40})
    for (const auto& [axis, value] : std::vector<std::pair<int64_t, int>>{{0, 32}, {0, -1}, {1, 64}, {1, -1}}) {
      const auto adapted = adapt("shira", "rank: 3");
      places_of(adapted)[axis][5] = value;
      EXPECT_THROW(slot_of(adapted, kKey).forward(at::ones({rows, 64}), {}), InvalidArgument) << axis << " " << value;
    }
}

TEST(Shira, MoreElementsThanThereAreAreRefused) {
  EXPECT_THAT(testing::refusal("shira", "rank: 22"), AllOf(HasSubstr("k_proj"), HasSubstr("1..21")));  // 32 · 64 / 96 = 21.3
  EXPECT_EQ(testing::refusal("shira", "rank: 21"), "accepted");
  EXPECT_THAT(testing::refusal("shira", "rank: 0"), HasSubstr("method.rank"));
}

}  // namespace
}  // namespace graft::peft
