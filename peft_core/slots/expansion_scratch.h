#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace graft::peft {

/// The one buffer a dtype, in the memory where products are made, into which stored weights are expanded before a product. It remembers what it holds, so that a second
/// product with the same rows (a head walked twice, a decode loop over one weight) does not expand again.
class ExpansionScratch {
 public:
  static ExpansionScratch& shared();

  /// A (rows, columns) view of the buffer of this dtype and device that holds what `fill` writes for this owner and row range.
  at::Tensor expanded(const void* owner, int64_t begin, int64_t rows, int64_t columns, const at::TensorOptions& where,
                      const std::function<void(at::Tensor&)>& fill);
  /// A weight that goes away or changes its place must not be mistaken for a later one at the same address.
  void forget();
  int64_t bytes() const;

 private:
  struct Buffer {
    at::Tensor storage;
    const void* owner = nullptr;
    int64_t begin = 0, rows = 0;
  };
  Buffer fp32_, bf16_;
};

}  // namespace graft::peft
