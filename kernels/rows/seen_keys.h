#pragma once

// Private to this folder.

#include <algorithm>

#include "kernels/rows/cached_attention_rows.h"
#include "kernels/rows/row_ranges.h"

namespace graft::kernels::detail {

/// The keys that a query sees; itself is always among them.
inline Range seen_keys(const CachedAttention& p, int64_t query) {
  if (!p.causal) return {0, p.keys};
  const int64_t end = p.keys - p.queries + query + 1;
  return {p.window > 0 ? std::max<int64_t>(0, end - p.window) : 0, end};
}

}  // namespace graft::kernels::detail
