#include "peft_core/methods/low_rank/low_rank_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops/apply.h"
#include "kernels/ops/dense_products.h"
#include "kernels/ops/if_defined.h"
#include "kernels/ops/kept_input.h"
#include "kernels/ops/products.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/slots/held_base.h"

namespace graft::peft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct LowRankLinear : public torch::autograd::Function<LowRankLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& a, const at::Tensor& b,
                            const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& row_factors,
                            std::shared_ptr<const FrozenLinear> base, double scale, double dropout, int64_t seed) {
    const auto mask = dropout_mask(x.sizes(), x.options(), dropout, static_cast<uint64_t>(seed));
    auto down = ops::narrow_product(mask.defined() ? x * mask : x, a);  // (N, r)
    if (row_factors) down.mul_(*row_factors);
    auto y = base->project(x, {.bias = bias.value_or(at::Tensor()), .down = down, .up = b, .scale = scale});
    ctx->save_for_backward({a, b, down, row_factors.value_or(at::Tensor())});
    if (a.requires_grad()) ops::keep_input(ctx, x);  // nothing but A's gradient asks for x
    ctx->saved_data["base"] = hold_base(std::move(base));
    ctx->saved_data["biased"] = bias.has_value();
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["dropout"] = dropout;
    ctx->saved_data["seed"] = seed;
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &a = saved[0], &b = saved[1], &down = saved[2], &row_factors = saved[3];
    const auto& g = gradients[0];
    const double scale = ctx->saved_data["scale"].toDouble();
    const auto mask = dropout_mask({g.size(0), a.size(1)}, g.options(), ctx->saved_data["dropout"].toDouble(),
                                   static_cast<uint64_t>(ctx->saved_data["seed"].toInt()));

    at::Tensor da, db, dx, dbias;
    if (ctx->needs_input_grad(2)) db = ops::factor_gradient_transposed(down, g, scale);  // (out, r)
    auto ddown = ops::narrow_product(g, b.t(), scale);                                   // (N, r)
    if (row_factors.defined()) ddown.mul_(row_factors);
    if (ctx->needs_input_grad(1)) {
      const auto x = ops::kept_input(ctx);
      da = ops::factor_gradient(ddown, mask.defined() ? x * mask : x);                   // (r, in)
    }
    if (ctx->needs_input_grad(0)) {
      const auto& held = held_base(ctx->saved_data["base"]);
      if (mask.defined()) {
        dx = held.project_back(g).add_(ops::mm(ddown, a.to(g.scalar_type())).mul_(mask));
      } else {
        dx = held.project_back(g, {.down = ddown, .up = a.t()});
      }
    }
    if (ctx->saved_data["biased"].toBool() && ctx->needs_input_grad(3)) dbias = g.sum({0}, /*keepdim=*/false, at::kFloat);
    return {dx, da, db, dbias, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor low_rank_linear(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b, double scale,
                           const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias, double dropout,
                           uint64_t seed) {
  return ops::apply<LowRankLinear>(x, a, b, ops::if_defined(bias), std::nullopt, base, scale, dropout, static_cast<int64_t>(seed));
}

at::Tensor low_rank_linear_by_rows(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b, const at::Tensor& row_factors,
                                   const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias) {
  return ops::apply<LowRankLinear>(x, a, b, ops::if_defined(bias), row_factors, base, /*scale=*/1.0, /*dropout=*/0.0, int64_t{0});
}

}  // namespace graft::peft
