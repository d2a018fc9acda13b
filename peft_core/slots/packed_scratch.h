#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "kernels/ops/products.h"

namespace graft::peft {

/// The one buffer into which quantised weights are laid out for the matrix units before a product. It remembers what it holds, so that
/// two products in a row with the same side of a weight lay it out once.
class PackedScratch {
 public:
  static PackedScratch& shared();

  /// `size` bf16 values: what `fill` wrote for this owner and side.
  at::Tensor packed(const void* owner, ops::Side side, int64_t size, const std::function<void(at::Tensor&)>& fill);
  /// A weight that goes away must not be mistaken for a later one at the same address.
  void forget() { owner_ = nullptr; }

 private:
  at::Tensor storage_;
  const void* owner_ = nullptr;
  ops::Side side_ = ops::Side::kForward;
};

}  // namespace graft::peft
