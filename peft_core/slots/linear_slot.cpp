#include "peft_core/slots/linear_slot.h"

#include "kernels/base/error.h"

namespace graft::peft {
namespace {

/// FNV-1a: the same on every platform, unlike std::hash.
uint64_t stable_hash(const std::string& text) {
  uint64_t hash = 14695981039346656037ull;
  for (const unsigned char c : text) hash = (hash ^ c) * 1099511628211ull;
  return hash;
}

}  // namespace

LinearSlot::LinearSlot(std::string name, std::shared_ptr<const FrozenLinear> base, at::Tensor bias)
    : name_(std::move(name)), base_(std::move(base)), bias_(std::move(bias)), seed_(stable_hash(name_)) {}

at::Tensor LinearSlot::forward(const at::Tensor& x, const ForwardContext& context) const {
  if (adapter_ == nullptr) return frozen_linear(x, base_, bias_);
  return adapter_->forward(x, {base_, bias_, context, seed_});
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
  adapter_ = nullptr;
}

}  // namespace graft::peft
