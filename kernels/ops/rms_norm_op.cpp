#include "kernels/ops/rms_norm_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops/element_of.h"
#include "kernels/ops/remaking.h"

namespace graft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct Normalised {
  at::Tensor y, inverse_rms;
};

/// x contiguous.
Normalised normalised(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  Normalised result{at::empty_like(x), at::empty({x.numel() / x.size(-1)}, x.options().dtype(at::kFloat))};
  kernels::rms_norm_rows(element_of(x), x.const_data_ptr(), weight.const_data_ptr<float>(), static_cast<float>(epsilon),
                         result.inverse_rms.numel(), x.size(-1), result.y.mutable_data_ptr(), result.inverse_rms.mutable_data_ptr<float>());
  return result;
}

struct RmsNorm : public torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, double epsilon) {
    const auto rows = x.contiguous();
    auto [y, inverse_rms] = normalised(rows, weight, epsilon);
    ctx->save_for_backward({rows, weight, inverse_rms, at::scalar_tensor(epsilon, at::kDouble)});
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &inverse_rms = saved[2];
    const auto g = gradients[0].contiguous();
    auto dx = at::empty_like(x);
    at::Tensor dweight;
    if (ctx->needs_input_grad(1)) dweight = at::zeros_like(weight);
    kernels::rms_norm_rows_backward(element_of(x), g.const_data_ptr(), x.const_data_ptr(), weight.const_data_ptr<float>(),
                                    inverse_rms.const_data_ptr<float>(), inverse_rms.numel(), x.size(-1), dx.mutable_data_ptr(),
                                    dweight.defined() ? dweight.mutable_data_ptr<float>() : nullptr);
    return {dx, dweight, at::Tensor()};
  }
};

at::Tensor made_again(const tensor_list& kept) { return normalised(kept[0], kept[1], kept[3].item<double>()).y; }

}  // namespace

Maker rms_norm_maker() { return maker<RmsNorm, made_again>(); }

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return RmsNorm::apply(x, weight, epsilon);
}

}  // namespace graft::ops
