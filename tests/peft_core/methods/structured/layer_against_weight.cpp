#include "tests/peft_core/methods/structured/layer_against_weight.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <stdexcept>

#include "tests/support/gradcheck.h"

namespace graft::testing {

void expect_layer_of_weight(const Adapted& adapted, const std::string& layer, const EffectiveWeight& weight, int64_t rows, double terms) {
  const auto& slot = slot_of(adapted, layer);
  adapted.clear_gradients();
  ExactLeaves leaves;
  const auto state = adapted.attachment->state();
  for (const auto& [name, tensor] : state)
    if (name.starts_with(layer + ".")) leaves[name.substr(layer.size() + 1)] = tensor.detach().to(at::kDouble).requires_grad_();
  auto random = at::make_generator<at::CPUGeneratorImpl>(1);
  const auto x = at::randn({rows, slot.base()->in_features()}, random, at::TensorOptions(at::kFloat)).requires_grad_();
  const auto g = at::randn({rows, slot.base()->out_features()}, random, at::TensorOptions(at::kFloat));
  const auto exact_x = x.detach().to(at::kDouble).requires_grad_();
  auto expected = at::mm(exact_x, weight(slot.base()->weight().to(at::kDouble), leaves).t());
  if (slot.bias().defined()) expected = expected + slot.bias().to(at::kDouble);
  torch::autograd::backward({expected}, {g.to(at::kDouble)});

  const auto y = slot.forward(x, {});
  torch::autograd::backward({y}, {g});
  const double tolerance = terms * 0x1p-24;
  EXPECT_LT(relative_error(y, expected), tolerance);
  EXPECT_LT(relative_error(x.grad(), exact_x.grad()), tolerance);
  for (const auto& [name, leaf] : leaves) {
    const auto gradient = state.at(layer + "." + name).grad();
    ASSERT_TRUE(gradient.defined()) << name;
    EXPECT_LT(relative_error(gradient, leaf.grad()), tolerance) << name;
  }
}

}  // namespace graft::testing
