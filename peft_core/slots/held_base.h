#pragma once

#include <ATen/core/ivalue.h>

#include <memory>
#include <utility>

#include "peft_core/slots/frozen_linear.h"

namespace graft::peft {

/// Lets an autograd graph keep a frozen weight alive, as it would keep a saved tensor.
struct HeldBase : public torch::CustomClassHolder {
  explicit HeldBase(std::shared_ptr<const FrozenLinear> held) : base(std::move(held)) {}
  std::shared_ptr<const FrozenLinear> base;
};

inline c10::IValue hold_base(std::shared_ptr<const FrozenLinear> base) {
  return c10::IValue::make_capsule(c10::make_intrusive<HeldBase>(std::move(base)));
}

inline const FrozenLinear& held_base(const c10::IValue& value) {
  return *static_cast<const HeldBase*>(value.toCapsule().get())->base;
}

}  // namespace graft::peft
