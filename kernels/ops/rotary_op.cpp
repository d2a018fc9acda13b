#include "kernels/ops/rotary_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops/apply.h"
#include "kernels/ops/element_of.h"
#include "kernels/ops/on_device.h"
#include "kernels/rows/rows_cuda.h"

namespace graft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

at::Tensor rotated(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine, float sign) {
  const auto input = x.contiguous();
  auto y = at::empty_like(input);
  run_beside(input, kernels::rotate_halves_rows, kernels::rotate_halves_rows_cuda, element_of(input), input.const_data_ptr(),
             cosine.const_data_ptr<float>(), sine.const_data_ptr<float>(), sign, input.size(0), input.size(1), input.size(2),
             y.mutable_data_ptr());
  return y;
}

struct Rotary : public torch::autograd::Function<Rotary> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
    ctx->save_for_backward({cosine, sine});
    return rotated(x, cosine, sine, 1.0f);
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    return {rotated(gradients[0], saved[0], saved[1], -1.0f), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rotary(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  return apply<Rotary>(x, cosine, sine);
}

}  // namespace graft::ops
