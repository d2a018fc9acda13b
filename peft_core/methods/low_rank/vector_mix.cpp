#include "peft_core/methods/low_rank/vector_mix.h"

#include <ATen/ATen.h>

namespace graft::peft {
namespace {

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

// As a product with the bank: V times more multiplications than adding up k vectors, and still next to nothing beside the layer's own; its
// gradient for the bank is one product, whose order of sums does not depend on which pieces chose a vector.
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
  return at::mm(all.view({-1, vectors_}), bank).view(sizes);
}

NamedTensors VectorMix::choices(const std::string& name) const {
  if (!trainable()) return {{name + "_topk_indices", indices_}, {name + "_topk_weights", weights_}};
  const auto [values, indices] = logits_.detach().topk(kept_, -1);
  return {{name + "_topk_indices", indices.to(index_type(vectors_))},
          {name + "_topk_weights", at::softmax(values, -1).narrow(-1, 0, kept_ - 1).contiguous()}};
}

}  // namespace graft::peft
