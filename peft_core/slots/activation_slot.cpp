#include "peft_core/slots/activation_slot.h"

#include "kernels/base/error.h"
#include "peft_core/slots/slot_seed.h"

namespace graft::peft {

ActivationSlot::ActivationSlot(std::string name, int64_t width) : name_(std::move(name)), width_(width), seed_(slot_seed(name_)) {}

at::Tensor ActivationSlot::forward(const at::Tensor& h, const at::Tensor& input, std::span<const int32_t> lengths, const ForwardContext& context,
                                   std::span<at::Tensor* const> states) const {
  return adapter_ == nullptr ? h : adapter_->forward(h, {context, lengths, seed_, input, states});
}

void ActivationSlot::attach(std::shared_ptr<const ActivationAdapter> adapter) {
  if (adapter_ != nullptr) throw InvalidArgument({.where = name_, .what = "already has an adapter after it", .hint = "detach it first"});
  adapter_ = std::move(adapter);
}

}  // namespace graft::peft
