#include "kernels/ops/layer_norm_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops/apply.h"
#include "kernels/ops/element_of.h"
#include "kernels/ops/norm_scratch.h"
#include "kernels/rows/norm_rows.h"

namespace graft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct LayerNorm : public torch::autograd::Function<LayerNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon) {
    const auto rows = x.contiguous();
    const int64_t count = rows.numel() / rows.size(-1);
    auto y = at::empty_like(rows), mean = at::empty({count}, rows.options().dtype(at::kFloat)), inverse_std = at::empty_like(mean);
    run_beside(rows, kernels::layer_norm_rows, kernels::layer_norm_rows_cuda, element_of(rows), rows.const_data_ptr(),
               weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), static_cast<float>(epsilon), count, rows.size(-1),
               y.mutable_data_ptr(), mean.mutable_data_ptr<float>(), inverse_std.mutable_data_ptr<float>());
    ctx->save_for_backward({rows, weight, mean, inverse_std});
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &mean = saved[2], &inverse_std = saved[3];
    const auto g = gradients[0].contiguous();
    auto dx = at::empty_like(x);
    at::Tensor dweight, dbias;
    if (ctx->needs_input_grad(1)) dweight = at::zeros_like(weight);
    if (ctx->needs_input_grad(2)) dbias = at::zeros_like(weight);
    auto scratch = norm_scratch(x, mean.numel(), dweight.defined() || dbias.defined(), dbias.defined());
    const auto start = [](at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr; };
    const auto backward_of = [&](auto kernel, auto... further) {
      kernel(element_of(x), g.const_data_ptr(), x.const_data_ptr(), weight.const_data_ptr<float>(), mean.const_data_ptr<float>(),
             inverse_std.const_data_ptr<float>(), mean.numel(), x.size(-1), dx.mutable_data_ptr(), start(dweight), start(dbias), further...);
    };
    if (on_device(x)) {
      backward_of(kernels::layer_norm_rows_backward_cuda, start(scratch), stream_of(x));
    } else {
      backward_of(kernels::layer_norm_rows_backward);
    }
    return {dx, dweight, dbias, at::Tensor()};
  }
};

}  // namespace

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon) {
  return apply<LayerNorm>(x, weight, bias, epsilon);
}

}  // namespace graft::ops
