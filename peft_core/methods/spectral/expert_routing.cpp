#include "peft_core/methods/spectral/expert_routing.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops/apply.h"

namespace graft::peft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct ExtraLoss : public torch::autograd::Function<ExtraLoss> {
  static at::Tensor forward(AutogradContext* /*ctx*/, const at::Tensor& y, const at::Tensor& /*extra*/) { return y.detach(); }
  static tensor_list backward(AutogradContext* /*ctx*/, tensor_list gradients) { return {gradients[0], at::ones({}, gradients[0].options().dtype(at::kFloat))}; }
};

}  // namespace

Routing route(const at::Tensor& logits, int64_t top) {
  Routing routing;
  routing.probabilities = logits.to(at::kFloat).softmax(1);
  const auto best = std::get<1>(routing.probabilities.detach().topk(top, 1));
  routing.chosen = at::zeros_like(routing.probabilities.detach()).scatter_(1, best, 1.0);
  routing.gates = routing.probabilities * routing.chosen;
  if (top > 1) routing.gates = routing.gates / routing.gates.sum({1}, /*keepdim=*/true);
  return routing;
}

at::Tensor group_balance(const Routing& routing, const at::Tensor& groups) {
  const auto share = at::mv(groups.t(), routing.chosen.sum({0})) / routing.chosen.sum();
  const auto mass = at::mv(groups.t(), routing.probabilities.mean({0}));
  return (share * mass).sum() * static_cast<double>(groups.size(1));
}

at::Tensor with_extra_loss(const at::Tensor& y, const at::Tensor& extra) { return ops::apply<ExtraLoss>(y, extra); }

}  // namespace graft::peft
