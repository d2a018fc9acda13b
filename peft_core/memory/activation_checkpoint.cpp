#include "peft_core/memory/activation_checkpoint.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;
using Block = std::function<at::Tensor(const at::Tensor&)>;

struct HeldBlock : public torch::CustomClassHolder {
  explicit HeldBlock(Block held) : block(std::move(held)) {}
  Block block;
};

struct Checkpoint : public torch::autograd::Function<Checkpoint> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, Block block) {
    ctx->save_for_backward({x});
    auto y = block(x);
    ctx->saved_data["block"] = c10::IValue::make_capsule(c10::make_intrusive<HeldBlock>(std::move(block)));
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto capsule = ctx->saved_data["block"].toCapsule();
    const auto& block = static_cast<const HeldBlock*>(capsule.get())->block;
    at::AutoGradMode with_gradient(true);
    const auto x = ctx->get_saved_variables()[0].detach().requires_grad_();
    const auto y = block(x);
    torch::autograd::backward({y}, {gradients[0]});
    return {x.grad(), at::Tensor()};
  }
};

}  // namespace

at::Tensor checkpointed(Block block, const at::Tensor& x) {
  GRAFT_ASSERT(x.requires_grad());
  return Checkpoint::apply(x, std::move(block));
}

}  // namespace graft::peft
