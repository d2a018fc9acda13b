#include "peft_core/methods/low_rank/thin_ops.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops/apply.h"
#include "kernels/ops/dense_products.h"
#include "kernels/ops/if_defined.h"
#include "kernels/ops/kept_input.h"
#include "kernels/ops/products.h"
#include "peft_core/slots/held_base.h"

namespace graft::peft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct ThinProduct : public torch::autograd::Function<ThinProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& a) {
    ctx->save_for_backward({a});
    ops::keep_input(ctx, x);
    return ops::narrow_product(x, a);
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto a = ctx->get_saved_variables()[0], g = gradients[0].contiguous();
    at::Tensor dx, da;
    if (ctx->needs_input_grad(0)) dx = ops::mm(g, a.to(g.scalar_type()));
    if (ctx->needs_input_grad(1)) da = ops::factor_gradient(g, ops::kept_input(ctx));
    return {dx, da};
  }
};

struct LatentLinear : public torch::autograd::Function<LatentLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& z, const at::Tensor& b, const std::optional<at::Tensor>& bias,
                            std::shared_ptr<const FrozenLinear> base, double scale) {
    auto y = base->project(x, {.bias = bias.value_or(at::Tensor()), .down = z, .up = b, .scale = scale});
    ctx->save_for_backward({z, b});
    ctx->saved_data["base"] = hold_base(std::move(base));
    ctx->saved_data["biased"] = bias.has_value();
    ctx->saved_data["scale"] = scale;
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &z = saved[0], &b = saved[1];
    const auto& g = gradients[0];
    const double scale = ctx->saved_data["scale"].toDouble();
    at::Tensor dx, dz, db, dbias;
    if (ctx->needs_input_grad(0)) dx = held_base(ctx->saved_data["base"]).project_back(g);
    if (ctx->needs_input_grad(1)) dz = ops::narrow_product(g, b.t(), scale);
    if (ctx->needs_input_grad(2)) db = ops::factor_gradient_transposed(z, g, scale);
    if (ctx->saved_data["biased"].toBool() && ctx->needs_input_grad(3)) dbias = g.sum({0}, /*keepdim=*/false, at::kFloat);
    return {dx, dz, db, dbias, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor thin_product(const at::Tensor& x, const at::Tensor& a) { return ops::apply<ThinProduct>(x, a); }

at::Tensor latent_linear(const at::Tensor& x, const at::Tensor& z, const at::Tensor& b, double scale,
                         const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias) {
  return ops::apply<LatentLinear>(x, z.contiguous(), b, ops::if_defined(bias), base, scale);
}

}  // namespace graft::peft
