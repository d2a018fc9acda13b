#include "peft_core/methods/dense_update.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/base/error.h"
#include "kernels/ops/apply.h"
#include "kernels/ops/dense_products.h"
#include "kernels/ops/if_defined.h"
#include "kernels/ops/kept_input.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/slots/held_base.h"

namespace graft::peft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// What autograd keeps of the update: how to make it again.
struct HeldMaker : public torch::CustomClassHolder {
  explicit HeldMaker(MakeUpdate held) : make(std::move(held)) {}
  MakeUpdate make;
};

std::vector<at::Tensor> leaves_of(const at::Tensor& first, const std::optional<at::Tensor>& second) {
  std::vector<at::Tensor> leaves = {first.detach()};
  if (second.has_value() && second->defined()) leaves.push_back(second->detach());
  return leaves;
}

struct DenseUpdateLinear : public torch::autograd::Function<DenseUpdateLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& first, const std::optional<at::Tensor>& second,
                            const std::optional<at::Tensor>& bias, std::shared_ptr<const FrozenLinear> base, MakeUpdate make, double dropout,
                            int64_t seed) {
    const auto mask = dropout_mask(x.sizes(), x.options(), dropout, static_cast<uint64_t>(seed));
    const auto update = make(leaves_of(first, second)).to(x.scalar_type());
    auto y = base->project(x, {.bias = bias.value_or(at::Tensor())});
    ops::addmm_(y, mask.defined() ? x * mask : x, update.t());
    ctx->save_for_backward({first, second.value_or(at::Tensor())});
    ops::keep_input(ctx, x);
    ctx->saved_data["base"] = hold_base(std::move(base));
    ctx->saved_data["maker"] = c10::IValue::make_capsule(c10::make_intrusive<HeldMaker>(std::move(make)));
    ctx->saved_data["biased"] = bias.has_value();
    ctx->saved_data["dropout"] = dropout;
    ctx->saved_data["seed"] = seed;
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto x = ops::kept_input(ctx);
    const auto& g = gradients[0];
    const auto mask = dropout_mask(x.sizes(), x.options(), ctx->saved_data["dropout"].toDouble(), static_cast<uint64_t>(ctx->saved_data["seed"].toInt()));
    const auto capsule = ctx->saved_data["maker"].toCapsule();
    const auto& make = static_cast<const HeldMaker*>(capsule.get())->make;

    auto leaves = leaves_of(saved[0], saved[1]);
    at::Tensor update;
    {
      const at::AutoGradMode with_gradient(true);
      for (auto& leaf : leaves) leaf.requires_grad_();
      update = make(leaves);
    }
    const auto update_gradient = ops::mm(g.t(), mask.defined() ? x * mask : x).to(at::kFloat);  // (out, in)
    auto leaf_gradients = torch::autograd::grad({update}, leaves, {update_gradient});
    leaf_gradients.resize(2);

    at::Tensor dx, dbias;
    if (ctx->needs_input_grad(0)) {
      const auto through = update.detach().to(g.scalar_type());
      dx = held_base(ctx->saved_data["base"]).project_back(g);
      if (mask.defined()) {
        dx.add_(ops::mm(g, through).mul_(mask));
      } else {
        ops::addmm_(dx, g, through);
      }
    }
    const size_t bias_input = 1 + leaves.size();  // an absent leaf is no input to autograd
    if (ctx->saved_data["biased"].toBool() && ctx->needs_input_grad(bias_input)) dbias = g.sum({0}, /*keepdim=*/false, at::kFloat);
    return {dx, leaf_gradients[0], leaf_gradients[1], dbias, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor dense_update_linear(const at::Tensor& x, const std::vector<at::Tensor>& leaves, const MakeUpdate& make,
                               const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias, double dropout, uint64_t seed) {
  GRAFT_ASSERT(leaves.size() == 1 || leaves.size() == 2);
  const auto second = leaves.size() == 2 ? std::optional(leaves[1]) : std::nullopt;
  return ops::apply<DenseUpdateLinear>(x, leaves[0], second, ops::if_defined(bias), base, make, dropout, static_cast<int64_t>(seed));
}

}  // namespace graft::peft
