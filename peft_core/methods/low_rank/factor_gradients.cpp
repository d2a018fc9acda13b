#include "peft_core/methods/low_rank/factor_gradients.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops/apply.h"
#include "kernels/ops/if_defined.h"
#include "kernels/ops/kept_input.h"
#include "kernels/ops/products.h"
#include "peft_core/methods/dropout.h"
#include "peft_core/methods/low_rank/thin_ops.h"

namespace graft::peft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct FactorGradients : public torch::autograd::Function<FactorGradients> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& y, const at::Tensor& x, const at::Tensor& a, const at::Tensor& b,
                            const std::optional<at::Tensor>& channel_gain, const std::optional<at::Tensor>& token_gain, double scale,
                            double dropout, int64_t seed) {
    ctx->save_for_backward({a, b, channel_gain.value_or(at::Tensor()), token_gain.value_or(at::Tensor())});
    ops::keep_input(ctx, x);
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["dropout"] = dropout;
    ctx->saved_data["seed"] = seed;
    return y.detach();
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const at::NoGradGuard no_gradient;
    const auto saved = ctx->get_saved_variables();
    const auto &a = saved[0], &b = saved[1], &channel_gain = saved[2], &token_gain = saved[3];
    const double scale = ctx->saved_data["scale"].toDouble();
    const auto x = with_dropout(ops::kept_input(ctx), ctx->saved_data["dropout"].toDouble(), static_cast<uint64_t>(ctx->saved_data["seed"].toInt()));
    const auto g = token_gain.defined() ? gradients[0] * token_gain : gradients[0];
    auto db = ops::factor_gradient_transposed(ops::narrow_product(x, a), g, scale);
    auto weighed = b.detach();
    if (channel_gain.defined()) {
      const auto column = channel_gain.unsqueeze(1);
      db = db * column, weighed = weighed * column;
    }
    const auto da = ops::factor_gradient(ops::narrow_product(g, weighed.t(), scale), x);
    return {gradients[0], at::Tensor(), da, db, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor with_factor_gradients(const at::Tensor& y, const at::Tensor& x, const at::Tensor& a, const at::Tensor& b,
                                 const FactorGradientOptions& options) {
  return ops::apply<FactorGradients>(y, x, a, b, ops::if_defined(options.channel_gain), ops::if_defined(options.token_gain), options.scale,
                                     options.dropout, static_cast<int64_t>(options.seed));
}

}  // namespace graft::peft
