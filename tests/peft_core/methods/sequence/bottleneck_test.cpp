#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/peft_core/methods/method_fixture.h"
#include "tests/support/gradcheck.h"

namespace graft::peft {
namespace {

using testing::adapt;
using testing::refusal;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The adapter after block `index` of the model's places.
std::shared_ptr<const ActivationAdapter> adapter_after(const testing::Adapted& adapted, size_t index) {
  return adapted.model->places().activations[index]->adapter();
}

TEST(Bottleneck, IsDownActivationUpAddedToTheBlocksOutput) {
  const auto h = at::randn({5, 64}), input = at::randn({5, 64});
  const std::vector<int32_t> lengths{5};
  const std::pair<const char*, at::Tensor (*)(const at::Tensor&)> activations[] = {{"relu", at::relu}, {"silu", at::silu},
                                                                                   {"gelu", [](const at::Tensor& x) { return at::gelu(x); }}};
  for (const auto& [name, activation] : activations)
    for (const bool parallel : {false, true}) {
      const auto adapted = adapt("bottleneck", std::string("reduction_factor: 8\nscaling: 3\nactivation: ") + name + (parallel ? "\nparallel: true" : ""));
      adapted.disturb(3);
      std::map<std::string, at::Tensor> p;
      for (const auto& [part, tensor] : adapter_after(adapted, 1)->parameters()) p[part] = tensor.detach().to(at::kDouble);
      const auto x = (parallel ? input : h).to(at::kDouble);
      const auto inner = activation(at::mm(x, p.at("adapter_down.weight").t()) + p.at("adapter_down.bias"));
      const auto expected = h.to(at::kDouble) + 3 * (at::mm(inner, p.at("adapter_up.weight").t()) + p.at("adapter_up.bias"));
      const auto actual = adapter_after(adapted, 1)->forward(h, {ForwardContext{}, lengths, 1, input, {}});
      EXPECT_LT(testing::relative_error(actual.detach(), expected), 64 * 0x1p-24) << name;  // sums of 64 terms
    }
}

TEST(Bottleneck, StandsAfterTheChosenBlocksOnly) {
  const auto placed = [](const std::string& options) {
    const auto adapted = adapt("bottleneck", options);
    std::vector<bool> there;
    for (const auto* slot : adapted.model->places().activations) there.push_back(slot->adapter() != nullptr);
    return there;
  };
  EXPECT_THAT(placed(""), ElementsAre(false, true, false, true));
  EXPECT_THAT(placed("after: [attention]"), ElementsAre(true, false, true, false));
  EXPECT_THAT(placed("after: [attention, mlp]"), ElementsAre(true, true, true, true));
}

TEST(Bottleneck, TheInnerSizeIsTheWidthOverTheFactorAndAtLeastOne) {
  const auto inner = [](const std::string& factor) {
    return adapt("bottleneck", "reduction_factor: " + factor).attachment->state().at("model.layers.0.mlp.adapter_down.weight").size(0);
  };
  EXPECT_EQ(inner("16"), 4);
  EXPECT_EQ(inner("10"), 6);
  EXPECT_EQ(inner("1000"), 1);
  EXPECT_EQ(inner("0.5"), 128);
}

TEST(Bottleneck, WrongOptionsAreRefused) {
  EXPECT_THAT(refusal("bottleneck", "reduction_factor: 0"), HasSubstr("method.reduction_factor"));
  EXPECT_THAT(refusal("bottleneck", "dropout: 1"), HasSubstr("method.dropout"));
  EXPECT_THAT(refusal("bottleneck", "after: [mpl]"), HasSubstr("mlp"));
  EXPECT_THAT(refusal("bottleneck", "after: []"), HasSubstr("method.after"));
  const auto adapted = adapt("bottleneck");
  EXPECT_THROW(find_method("bottleneck").attach(adapted.model->places(), testing::method_section("bottleneck", "after: [attention, mlp]"), 1), InvalidArgument);
  EXPECT_EQ(adapter_after(adapted, 0), nullptr) << "a refusal must leave the model as it was";
}

}  // namespace
}  // namespace graft::peft
