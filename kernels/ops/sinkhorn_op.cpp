#include "kernels/ops/sinkhorn_op.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <sstream>

#include "kernels/base/error.h"

namespace graft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

void check_shapes(const at::Tensor& x, const at::Tensor& y) {
  if (x.dim() == 2 && y.dim() == 2 && x.size(1) == y.size(1)) return;
  std::ostringstream got;
  got << x.sizes() << " and " << y.sizes();
  throw InvalidArgument({.where = "sinkhorn_divergence", .what = "shapes of the batches", .expected = "(n, d) and (m, d)", .got = got.str(), .hint = ""});
}

struct SinkhornFunction : public torch::autograd::Function<SinkhornFunction> {
  // An AutogradContext does not say before the backward pass who needs a gradient, so the caller does.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& y, kernels::SinkhornOptions options, bool for_x, bool for_y) {
    const auto a = x.contiguous(), b = y.contiguous();
    auto dx = for_x ? at::empty_like(a) : at::Tensor(), dy = for_y ? at::empty_like(b) : at::Tensor();
    const auto start = [](at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr; };
    const kernels::TwoBatches<float> batches{a.const_data_ptr<float>(), a.size(0), b.const_data_ptr<float>(), b.size(0), a.size(1)};
    const double value = kernels::sinkhorn_divergence(batches, options, start(dx), start(dy));
    ctx->save_for_backward({dx, dy});
    return at::scalar_tensor(value, a.options());
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto scaled = [&](const at::Tensor& slope) { return slope.defined() ? slope * gradients[0] : at::Tensor(); };
    return {scaled(saved[0]), scaled(saved[1]), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor sinkhorn_divergence(const at::Tensor& x, const at::Tensor& y, const kernels::SinkhornOptions& options) {
  check_shapes(x, y);
  const auto on_cpu = [](const at::Tensor& points) { return points.to(at::kCPU, at::kFloat); };
  const bool records = at::GradMode::is_enabled();
  return SinkhornFunction::apply(on_cpu(x), on_cpu(y), options, records && x.requires_grad(), records && y.requires_grad()).to(x.device());
}

at::Tensor sinkhorn_divergence(const at::Tensor& x, const at::Tensor& y, double blur) {
  return sinkhorn_divergence(x, y, kernels::SinkhornOptions{.blur = blur});
}

}  // namespace graft::ops
