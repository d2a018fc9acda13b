#include "kernels/ops/swiglu_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops/apply.h"
#include "kernels/ops/element_of.h"
#include "kernels/ops/on_device.h"
#include "kernels/ops/remaking.h"
#include "kernels/rows/rows_cuda.h"

namespace graft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

at::Tensor product_of(const at::Tensor& gate, const at::Tensor& up) {
  auto product = at::empty_like(gate);
  run_beside(gate, kernels::swiglu_elements, kernels::swiglu_elements_cuda, element_of(gate), gate.const_data_ptr(), up.const_data_ptr(),
             gate.numel(), product.mutable_data_ptr());
  return product;
}

struct Swiglu : public torch::autograd::Function<Swiglu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    return product_of(gate, up);
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &gate = saved[0], &up = saved[1];
    const auto g = gradients[0].contiguous();
    auto dgate = at::empty_like(gate), dup = at::empty_like(gate);
    run_beside(gate, kernels::swiglu_elements_backward, kernels::swiglu_elements_backward_cuda, element_of(gate), g.const_data_ptr(),
               gate.const_data_ptr(), up.const_data_ptr(), gate.numel(), dgate.mutable_data_ptr(), dup.mutable_data_ptr());
    return {dgate, dup};
  }
};

at::Tensor made_again(const tensor_list& kept) { return product_of(kept[0], kept[1]); }

}  // namespace

Maker swiglu_maker() { return maker<Swiglu, made_again>(); }

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) { return apply<Swiglu>(gate.contiguous(), up.contiguous()); }

}  // namespace graft::ops
