#pragma once

// Private to this folder: what the variants read beside the weight.

#include <cstdint>

#include "kernels/row_product/row_product.h"
#include "kernels/tiles/aligned_buffer.h"

namespace graft::kernels::detail {

constexpr int64_t kStep = 32;  ///< weights that a format gives at a time
constexpr int64_t steps_for(int64_t size) { return (size + kStep - 1) / kStep; }

/// The order of the 32 values of a step: as they are, or those with even numbers before those with odd ones.
enum class Order { kPlain, kPairs };

/// How the weights of a product come out of their format.
Order order_of(const RowProduct& product);

/// A few rows as fp32, each filled up with zeros to whole steps.
class ArrangedRows {
 public:
  ArrangedRows(const FewRows& rows, int64_t count, int64_t columns, Order order);
  const float* values() const { return values_.data(); }
  int64_t stride() const { return stride_; }

 private:
  AlignedBuffer<float> values_;
  int64_t stride_;
};

/// Row n of a weight as fp32.
void expand_row(const RowWeight& weight, int64_t n, int64_t in, float* row);

}  // namespace graft::kernels::detail
