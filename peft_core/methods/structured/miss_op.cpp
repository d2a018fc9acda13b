#include "peft_core/methods/structured/miss_op.h"

#include <ATen/ATen.h>
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

at::Tensor block_sums(const at::Tensor& x, int64_t r) {
  const auto rows = x.size(0), whole = x.size(1) / r * r;
  auto sums = x.narrow(1, 0, whole).reshape({rows, whole / r, r}).sum({1});
  if (const auto rest = x.size(1) - whole; rest > 0) sums.narrow(1, 0, rest).add_(x.narrow(1, whole, rest));
  return sums;
}

struct BlockSumLinear : public torch::autograd::Function<BlockSumLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& shared, const std::optional<at::Tensor>& bias,
                            std::shared_ptr<const FrozenLinear> base, double dropout, int64_t seed) {
    const auto mask = dropout_mask(x.sizes(), x.options(), dropout, static_cast<uint64_t>(seed));
    const auto sums = block_sums(mask.defined() ? x * mask : x, shared.size(0));
    auto y = base->project(x, {.bias = bias.value_or(at::Tensor()), .down = sums, .up = shared.t()});
    ctx->save_for_backward({shared, sums});
    ctx->saved_data["base"] = hold_base(std::move(base));
    ctx->saved_data["biased"] = bias.has_value();
    ctx->saved_data["dropout"] = dropout;
    ctx->saved_data["seed"] = seed;
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &shared = saved[0], &sums = saved[1], &g = gradients[0];
    const auto dshared = ops::factor_gradient(sums, g);  // (r, out)
    at::Tensor dx, dbias;
    if (ctx->needs_input_grad(0)) {
      const auto& base = held_base(ctx->saved_data["base"]);
      const auto in = base.in_features(), r = shared.size(0);
      auto spread = ops::narrow_product(g, shared).repeat({1, (in + r - 1) / r}).narrow(1, 0, in);
      const auto mask = dropout_mask({g.size(0), in}, g.options(), ctx->saved_data["dropout"].toDouble(),
                                     static_cast<uint64_t>(ctx->saved_data["seed"].toInt()));
      dx = base.project_back(g).add_(mask.defined() ? spread * mask : spread);
    }
    if (ctx->saved_data["biased"].toBool() && ctx->needs_input_grad(2)) dbias = g.sum({0}, /*keepdim=*/false, at::kFloat);
    return {dx, dshared, dbias, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct BlockUpdateProduct : public torch::autograd::Function<BlockUpdateProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& blocks, std::shared_ptr<const FrozenLinear> base) {
    auto y = ops::mm(x, block_update(base->weight(), blocks).to(x.scalar_type()).t());
    ctx->save_for_backward({blocks});
    ops::keep_input(ctx, x);
    ctx->saved_data["base"] = hold_base(std::move(base));
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto blocks = ctx->get_saved_variables()[0];
    const auto x = ops::kept_input(ctx);
    const auto& g = gradients[0];
    const auto weight = held_base(ctx->saved_data["base"]).weight();
    const auto count = blocks.size(0), r = blocks.size(1);
    const auto dupdate = ops::mm(g.t(), x).to(at::kFloat).view({count, -1, r});  // (out / r, r · in / r, r)
    const auto dblocks = at::bmm(weight.view({count, -1, r}).transpose(1, 2), dupdate) + dupdate.view({count, r, -1, r}).sum({2});
    at::Tensor dx;
    if (ctx->needs_input_grad(0)) dx = ops::mm(g, block_update(weight, blocks).to(g.scalar_type()));
    return {dx, dblocks, at::Tensor()};
  }
};

}  // namespace

at::Tensor block_sum_linear(const at::Tensor& x, const at::Tensor& shared, const std::shared_ptr<const FrozenLinear>& base,
                            const at::Tensor& bias, double dropout, uint64_t seed) {
  return ops::apply<BlockSumLinear>(x, shared, ops::if_defined(bias), base, dropout, static_cast<int64_t>(seed));
}

at::Tensor block_update(const at::Tensor& weight, const at::Tensor& blocks) {
  const auto count = blocks.size(0), r = blocks.size(1);
  const auto turned = at::bmm(weight.view({count, -1, r}), blocks).view({count, r, -1, r});
  return (turned + blocks.unsqueeze(2)).view({weight.size(0), weight.size(1)});
}

at::Tensor block_update_product(const at::Tensor& x, const at::Tensor& blocks, const std::shared_ptr<const FrozenLinear>& base) {
  return ops::apply<BlockUpdateProduct>(x, blocks, base);
}

}  // namespace graft::peft
