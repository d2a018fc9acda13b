#include "peft_core/slots/embedding_slot.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "kernels/base/error.h"

namespace graft::peft {

EmbeddingSlot::EmbeddingSlot(std::string name, std::shared_ptr<const FrozenLinear> base, bool tied_head)
    : name_(std::move(name)), base_(std::move(base)), tied_head_(tied_head) {}

at::Tensor EmbeddingSlot::forward(const at::Tensor& ids, at::ScalarType dtype) const {
  return adapter_ == nullptr ? base_->gather(ids, dtype) : adapter_->look_up(ids, *base_, dtype);
}

void EmbeddingSlot::attach(std::shared_ptr<const EmbeddingAdapter> adapter) {
  if (adapter_ != nullptr) throw InvalidArgument({.where = name_, .what = "already has an adapter", .hint = "detach or merge it first"});
  adapter_ = std::move(adapter);
}

void EmbeddingSlot::merge(at::ScalarType dtype) {
  if (adapter_ == nullptr) return;
  at::NoGradGuard no_gradient;
  base_ = dense_linear(adapter_->merged_weight(*base_).to(dtype));
  adapter_ = nullptr;
}

}  // namespace graft::peft
