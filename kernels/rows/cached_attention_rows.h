#pragma once

#include <cstdint>

#include "kernels/rows/element.h"

namespace graft::kernels {

/// Attention of a few queries over all keys of one sequence, as when a model writes an answer token by token. Query head h uses key head
/// h / (heads / key_heads); query t of T stands at position L - T + t. Element (token, head, i) of an operand stands at
/// token * stride + head * width + i.
struct CachedAttention {
  Element type = Element::kBFloat16;      ///< of q, k, v and out
  int64_t queries = 0, keys = 0;          ///< T; L >= T
  int64_t heads = 0, key_heads = 0;       ///< Hq, a multiple of Hk
  int64_t width = 0;                      ///< size of a head D
  bool causal = true;                     ///< a query sees keys up to its own position
  int64_t window = 0;                     ///< with causal: only the last `window` keys, itself among them; 0: all
  float scale = 1.0f;                     ///< of the scores, above 0
  const void *q = nullptr, *k = nullptr, *v = nullptr;           ///< (T, Hq, D), (L, Hk, D), (L, Hk, D)
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, out_stride = 0;  ///< elements from token to token
  void* out = nullptr;                    ///< (T, Hq, D)
};

/// out <- softmax(scale · q kᵀ) v, computed in fp32. The work grows with T, kernels/attention's with tiles of 32 rows. The same bytes on every run
/// and for every number of threads. Throws InvalidArgument for shapes that do not fit together.
void cached_attention_rows(const CachedAttention& problem);

}  // namespace graft::kernels
