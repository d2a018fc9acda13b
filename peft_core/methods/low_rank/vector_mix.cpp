#include "peft_core/methods/low_rank/vector_mix.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/ops/apply.h"

namespace graft::peft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// weights (pieces, V) · bank (V, L). The bank is a leaf that all layers share: its gradient is added to what is there already, one layer after
/// the other. Autograd would first sum up what reaches it within one pass, which is the whole model or, with activation checkpointing, a layer,
/// and give other bits.
struct MixedVectors : public torch::autograd::Function<MixedVectors> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& weights, at::Tensor bank) {
    ctx->save_for_backward({weights, bank});
    return at::mm(weights, bank);
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto &weights = saved[0], &bank = saved[1];
    if (ctx->needs_input_grad(1)) {
      const auto own = at::mm(weights.t(), gradients[0]);
      auto& sum = at::Tensor(bank).mutable_grad();
      if (sum.defined()) {
        sum.add_(own);
      } else {
        sum = own;
      }
    }
    return {ctx->needs_input_grad(0) ? at::mm(gradients[0], bank.t()) : at::Tensor(), at::Tensor()};
  }
};

/// PEFT's choice.
at::ScalarType index_type(int64_t vectors) { return vectors < 256 ? at::kByte : vectors < 32768 ? at::kShort : at::kInt; }

at::Tensor with_last(const at::Tensor& weights) { return at::cat({weights, 1 - weights.sum({-1}, /*keepdim=*/true)}, -1); }

}  // namespace

VectorMix VectorMix::of_logits(at::Tensor logits, int64_t kept) {
  VectorMix mix;
  mix.vectors_ = logits.size(-1), mix.kept_ = kept;
  mix.logits_ = std::move(logits);
  return mix;
}

VectorMix VectorMix::of_choices(at::IntArrayRef pieces, int64_t vectors, int64_t kept) {
  VectorMix mix;
  mix.vectors_ = vectors, mix.kept_ = kept;
  auto sizes = pieces.vec();
  sizes.push_back(kept);
  mix.indices_ = at::zeros(sizes, index_type(vectors));
  sizes.back() = kept - 1;
  mix.weights_ = at::zeros(sizes, at::kFloat);
  return mix;
}

// As a product with the bank: V / k times the multiplications of adding up k vectors, and still next to nothing beside the layer's own.
at::Tensor VectorMix::pieces(const at::Tensor& bank) const {
  at::Tensor weights, indices;
  if (trainable()) {
    const auto [values, chosen] = logits_.topk(kept_, -1);
    weights = at::softmax(values, -1), indices = chosen;
  } else {
    weights = with_last(weights_), indices = indices_.to(at::kLong).clamp(0, vectors_ - 1);
  }
  auto sizes = weights.sizes().vec();
  sizes.back() = vectors_;
  const auto all = at::zeros(sizes, weights.options().requires_grad(false)).scatter_add(-1, indices, weights);
  sizes.back() = bank.size(1);
  return ops::apply<MixedVectors>(all.view({-1, vectors_}), bank).view(sizes);
}

NamedTensors VectorMix::choices(const std::string& name) const {
  if (!trainable()) return {{name + "_topk_indices", indices_}, {name + "_topk_weights", weights_}};
  const auto [values, indices] = logits_.detach().topk(kept_, -1);
  return {{name + "_topk_indices", indices.to(index_type(vectors_))},
          {name + "_topk_weights", at::softmax(values, -1).narrow(-1, 0, kept_ - 1).contiguous()}};
}

}  // namespace graft::peft
