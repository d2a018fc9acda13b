#include "kernels/ops/rms_norm_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/base/error.h"
#include "kernels/ops/apply.h"
#include "kernels/ops/element_of.h"
#include "kernels/ops/if_defined.h"
#include "kernels/ops/norm_scratch.h"
#include "kernels/ops/remaking.h"

namespace graft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct Normalised {
  at::Tensor y, inverse_rms;
};

Normalised results_for(const at::Tensor& x) {
  return {at::empty_like(x), at::empty({x.numel() / x.size(-1)}, x.options().dtype(at::kFloat))};
}

/// x contiguous.
Normalised normalised(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  auto result = results_for(x);
  run_beside(x, kernels::rms_norm_rows, kernels::rms_norm_rows_cuda, element_of(x), x.const_data_ptr(), weight.const_data_ptr<float>(),
             static_cast<float>(epsilon), result.inverse_rms.numel(), x.size(-1), result.y.mutable_data_ptr(),
             result.inverse_rms.mutable_data_ptr<float>());
  return result;
}

/// x and residual contiguous; writes their sum.
Normalised normalised_sum(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight, double epsilon, at::Tensor& sum) {
  auto result = results_for(x);
  run_beside(x, kernels::add_rms_norm_rows, kernels::add_rms_norm_rows_cuda, element_of(x), x.const_data_ptr(), residual.const_data_ptr(),
             weight.const_data_ptr<float>(), static_cast<float>(epsilon), result.inverse_rms.numel(), x.size(-1), sum.mutable_data_ptr(),
             result.y.mutable_data_ptr(), result.inverse_rms.mutable_data_ptr<float>());
  return result;
}

/// Results: the sum, then y for each reader.
struct RmsNorm : public torch::autograd::Function<RmsNorm> {
  static tensor_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& residual,
                             double epsilon, int64_t readers) {
    ctx->set_materialize_grads(false);
    auto sum = x, rows = x.contiguous();
    Normalised normed;
    if (residual) {
      sum = at::empty_like(rows);
      normed = normalised_sum(rows, residual->contiguous(), weight, epsilon, sum);
      rows = sum;
    } else {
      normed = normalised(rows, weight, epsilon);
    }
    ctx->saved_data["added"] = residual.has_value();
    ctx->save_for_backward({rows, weight, normed.inverse_rms, at::scalar_tensor(epsilon, at::kDouble)});
    tensor_list results{sum, normed.y};
    while (static_cast<int64_t>(results.size()) <= readers) results.push_back(normed.y.detach());
    return results;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &inverse_rms = saved[2];
    const auto beside = gradients[0].defined() ? gradients[0].contiguous() : at::Tensor();
    tensor_list contiguous;
    std::vector<const void*> of_readers;
    for (size_t i = 1; i < gradients.size(); ++i)
      if (gradients[i].defined()) of_readers.push_back(contiguous.emplace_back(gradients[i].contiguous()).const_data_ptr());
    const bool added = ctx->saved_data["added"].toBool();
    if (of_readers.empty()) return {beside, at::Tensor(), added ? beside : at::Tensor(), at::Tensor(), at::Tensor()};  // y was not used
    auto dx = at::empty_like(x);
    at::Tensor dweight;
    if (ctx->needs_input_grad(1)) dweight = at::zeros_like(weight);
    const kernels::RmsNormBackward norm{.rows = inverse_rms.numel(), .n = x.size(-1), .g = of_readers,
                                        .beside = beside.defined() ? beside.const_data_ptr() : nullptr,
                                        .x = x.const_data_ptr(), .weight = weight.const_data_ptr<float>(),
                                        .inverse_rms = inverse_rms.const_data_ptr<float>(), .dx = dx.mutable_data_ptr(),
                                        .dweight = dweight.defined() ? dweight.mutable_data_ptr<float>() : nullptr};
    if (on_device(x)) {
      auto scratch = norm_scratch(x, norm.rows, dweight.defined(), /*with_bias=*/false);
      kernels::rms_norm_rows_backward_cuda(element_of(x), norm, scratch.defined() ? scratch.mutable_data_ptr<float>() : nullptr, stream_of(x));
    } else {
      kernels::rms_norm_rows_backward(element_of(x), norm);
    }
    return {dx, dweight, added ? dx : at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

at::Tensor made_again(const tensor_list& kept) { return normalised(kept[0], kept[1], kept[3].item<double>()).y; }

}  // namespace

Maker rms_norm_maker() {
  auto norm = maker<RmsNorm, made_again>();
  norm.first_result = 1;
  return norm;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return apply<RmsNorm>(x, weight, std::nullopt, epsilon, int64_t{1})[1];
}

AddedAndNormed add_rms_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight, double epsilon, int readers) {
  GRAFT_ASSERT(readers >= 1 && readers <= kernels::kMostReaders);
  auto results = apply<RmsNorm>(x, weight, if_defined(residual), epsilon, int64_t{readers});
  return {results[0], {results.begin() + 1, results.end()}};
}

}  // namespace graft::ops
