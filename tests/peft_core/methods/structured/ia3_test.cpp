#include "peft_core/methods/structured/ia3.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::relative_error;
using testing::slot_of;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

at::Tensor vector_of(const testing::Adapted& adapted, const std::string& layer) { return adapted.attachment->state().at(layer + ".ia3_l").detach(); }

TEST(Ia3, ScalesOutputsWithTheirBiasAndInputsOfFeedForwardLayers) {
  const auto adapted = adapt("ia3");
  adapted.disturb(3);
  const std::string key = "model.layers.0.self_attn.k_proj", down = "model.layers.0.mlp.down_proj";
  at::manual_seed(1);
  const auto x = at::randn({9, 64}), wide = at::randn({9, 96});
  const auto &k = slot_of(adapted, key), &d = slot_of(adapted, down);
  ASSERT_TRUE(k.bias().defined());
  ASSERT_EQ(vector_of(adapted, key).sizes(), at::IntArrayRef({32, 1}));
  ASSERT_EQ(vector_of(adapted, down).sizes(), at::IntArrayRef({1, 96}));
  const auto exact = [](const at::Tensor& t) { return t.to(at::kDouble); };
  const auto scaled = (at::mm(exact(x), exact(k.base()->weight()).t()) + exact(k.bias())) * exact(vector_of(adapted, key)).view({-1});
  const auto fed = at::mm(exact(wide) * exact(vector_of(adapted, down)), exact(d.base()->weight()).t());
  // Sums of 64 and 96 terms in fp32 and one rounding of the factor.
  EXPECT_LT(relative_error(k.forward(x, {}), scaled), 96 * 0x1p-24);
  EXPECT_LT(relative_error(d.forward(wide, {}), fed), 96 * 0x1p-24);
}

TEST(Ia3, TheMergedBiasIsScaledToo) {
  const auto adapted = adapt("ia3", "targets: [k_proj]");
  adapted.disturb(3);
  const std::string key = "model.layers.1.self_attn.k_proj";
  const auto before = slot_of(adapted, key).bias().clone(), factor = vector_of(adapted, key).view({-1});
  adapted.attachment->merge(at::kFloat);
  EXPECT_TRUE(at::equal(slot_of(adapted, key).bias(), before * factor));
  EXPECT_FALSE(at::equal(slot_of(adapted, key).bias(), before));
}

TEST(Ia3, PublishesFeedForwardLayersAmongTheTargets) {
  const auto published = [](const std::string& options) { return adapt("ia3", options).attachment->published_config(); };
  const auto usual = published("");
  EXPECT_THAT(usual.at("target_modules"), UnorderedElementsAre("k_proj", "v_proj", "down_proj"));
  EXPECT_THAT(usual.at("feedforward_modules"), UnorderedElementsAre("down_proj"));
  EXPECT_TRUE(published("targets: [k_proj]").at("feedforward_modules").empty());
  EXPECT_TRUE(published("targets: [k_proj]\nfeedforward: []").at("feedforward_modules").is_array());
  // One of two layers with the same ending: PEFT knows only full names for that.
  const auto mixed = published("targets: [down_proj]\nfeedforward: '.*layers\\.1\\..*'");
  EXPECT_THAT(mixed.at("target_modules"), UnorderedElementsAre("model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"));
  EXPECT_THAT(mixed.at("feedforward_modules"), UnorderedElementsAre("model.layers.1.mlp.down_proj"));
}

TEST(Ia3, DecaysNothing) {
  for (const auto& group : adapt("ia3").attachment->trainable()) EXPECT_FALSE(group.weight_decay) << group.name;
}

TEST(Ia3, APatternThatMatchesNothingIsRefused) { EXPECT_THAT(testing::refusal("ia3", "feedforward: [down_prj]"), HasSubstr("down_prj")); }

}  // namespace
}  // namespace graft::peft
