#include "kernels/ops/gelu_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops/apply.h"
#include "kernels/ops/element_of.h"
#include "kernels/ops/on_device.h"
#include "kernels/rows/rows_cuda.h"

namespace graft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct GeluFunction : public torch::autograd::Function<GeluFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, int64_t form) {
    const auto elements = x.contiguous();
    auto y = at::empty_like(elements);
    run_beside(x, kernels::gelu_elements, kernels::gelu_elements_cuda, element_of(elements), static_cast<kernels::Gelu>(form),
               elements.const_data_ptr(), elements.numel(), y.mutable_data_ptr());
    ctx->save_for_backward({elements});
    ctx->saved_data["form"] = form;
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto x = ctx->get_saved_variables()[0];
    const auto g = gradients[0].contiguous();
    auto dx = at::empty_like(x);
    run_beside(x, kernels::gelu_elements_backward, kernels::gelu_elements_backward_cuda, element_of(x),
               static_cast<kernels::Gelu>(ctx->saved_data["form"].toInt()), g.const_data_ptr(), x.const_data_ptr(), x.numel(),
               dx.mutable_data_ptr());
    return {dx, at::Tensor()};
  }
};

}  // namespace

at::Tensor gelu(const at::Tensor& x, kernels::Gelu form) { return apply<GeluFunction>(x, static_cast<int64_t>(form)); }

}  // namespace graft::ops
