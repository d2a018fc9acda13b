#pragma once

// Private to this folder.

#include <algorithm>
#include <cstdint>

#include "kernels/rows/row_ranges.h"

namespace graft::kernels::detail {

/// What a query at this position sees of `keys` keys; it may see none. Not causal: all; with a window: only the last ones, itself among them.
inline Range seen_keys(int64_t position, int64_t keys, bool causal, int64_t window) {
  if (!causal) return {0, keys};
  const int64_t end = std::min(keys, position + 1), begin = window > 0 ? std::max<int64_t>(0, position + 1 - window) : 0;
  return {std::min(begin, end), end};
}

}  // namespace graft::kernels::detail
