#pragma once

// Private to this folder: one value of a factor as the products see it.

#include <cstdint>

#include "kernels/base/bfloat16.h"
#include "kernels/packed_linear/packed_linear.h"

namespace graft::kernels::detail {

inline uint16_t factor_value(const Factor& factor, int64_t row, int64_t column) {
  const int64_t place = row * factor.row_stride + column * factor.column_stride;
  const float value = factor.fp32 != nullptr ? factor.fp32[place] : bfloat16_to_float(factor.bf16[place]);
  return float_to_bfloat16(value * factor.scale);
}

}  // namespace graft::kernels::detail
