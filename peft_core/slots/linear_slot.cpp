#include "peft_core/slots/linear_slot.h"

#include "kernels/base/error.h"
#include "peft_core/slots/slot_seed.h"

namespace graft::peft {

LinearSlot::LinearSlot(std::string name, std::shared_ptr<const FrozenLinear> base, at::Tensor bias)
    : name_(std::move(name)), base_(std::move(base)), bias_(std::move(bias)), seed_(slot_seed(name_)) {}

at::Tensor LinearSlot::forward(const at::Tensor& x, const ForwardContext& context) const {
  auto y = adapter_ == nullptr ? frozen_linear(x, base_, bias_) : adapter_->forward(x, {base_, bias_, context, seed_});
  if (observer_) observer_(x, y);
  return y;
}

void LinearSlot::expect_free() const {
  if (adapter_ != nullptr)
    throw InvalidArgument({.where = name_, .what = "already has an adapter", .hint = "detach or merge it first"});
}

void LinearSlot::attach(std::shared_ptr<const Adapter> adapter) {
  expect_free();
  adapter_ = std::move(adapter);
}

void LinearSlot::merge(at::ScalarType dtype) {
  if (adapter_ == nullptr) return;
  at::NoGradGuard no_gradient;
  base_ = dense_linear(adapter_->merged_weight(*base_).to(dtype));
  if (bias_.defined()) bias_ = adapter_->merged_bias(bias_);
  adapter_ = nullptr;
}

}  // namespace graft::peft
