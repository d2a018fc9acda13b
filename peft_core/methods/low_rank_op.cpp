#include "peft_core/methods/low_rank_op.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/custom_function.h>

#include "peft_core/slots/held_base.h"

namespace graft::peft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// 0 or 1 / (1 − p), like x; undefined without dropout.
at::Tensor dropout_mask(const at::Tensor& x, double p, uint64_t seed) {
  if (p <= 0) return {};
  auto mask = at::empty(x.sizes(), x.options());
  mask.bernoulli_(1.0 - p, at::make_generator<at::CPUGeneratorImpl>(seed));
  return mask.mul_(1.0 / (1.0 - p));
}

struct LowRankLinear : public torch::autograd::Function<LowRankLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& a, const at::Tensor& b,
                            const std::optional<at::Tensor>& bias, std::shared_ptr<const FrozenLinear> base, double scale,
                            double dropout, int64_t seed) {
    const auto dtype = x.scalar_type();
    auto y = base->project(x);
    if (bias) y.add_(*bias);
    const auto mask = dropout_mask(x, dropout, static_cast<uint64_t>(seed));
    const auto down = at::mm(mask.defined() ? x * mask : x, a.to(dtype).t());  // (N, r)
    y.addmm_(down, b.to(dtype).t(), 1, scale);
    ctx->save_for_backward({x, a, b});
    ctx->saved_data["base"] = hold_base(std::move(base));
    ctx->saved_data["biased"] = bias.has_value();
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["dropout"] = dropout;
    ctx->saved_data["seed"] = seed;
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &a = saved[1], &b = saved[2];
    const auto& g = gradients[0];
    const auto dtype = x.scalar_type();
    const double scale = ctx->saved_data["scale"].toDouble();
    const auto mask = dropout_mask(x, ctx->saved_data["dropout"].toDouble(), static_cast<uint64_t>(ctx->saved_data["seed"].toInt()));
    const auto dropped = mask.defined() ? x * mask : x;
    const auto a_cast = a.to(dtype);

    const auto down = at::mm(dropped, a_cast.t());                // (N, r)
    const auto db = at::mm(g.t(), down).to(at::kFloat).mul_(scale);  // (out, r)
    const auto ddown = at::mm(g, b.to(dtype)).mul_(scale);        // (N, r)
    const auto da = at::mm(ddown.t(), dropped).to(at::kFloat);    // (r, in)

    at::Tensor dx, dbias;
    if (ctx->needs_input_grad(0)) {
      dx = held_base(ctx->saved_data["base"]).project_back(g);
      if (mask.defined()) {
        dx.add_(at::mm(ddown, a_cast).mul_(mask));
      } else {
        dx.addmm_(ddown, a_cast);
      }
    }
    if (ctx->saved_data["biased"].toBool() && ctx->needs_input_grad(3)) dbias = g.sum({0}, /*keepdim=*/false, at::kFloat);
    return {dx, da, db, dbias, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor low_rank_linear(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b, double scale,
                           const std::shared_ptr<const FrozenLinear>& base, const at::Tensor& bias, double dropout,
                           uint64_t seed) {
  return LowRankLinear::apply(x, a, b, if_defined(bias), base, scale, dropout, static_cast<int64_t>(seed));
}

}  // namespace graft::peft
