#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace graft::ops {

struct AttentionShape {
  bool causal = true;
  int64_t window = 0;   ///< sliding window of keys; 0: unlimited
  double scale = 0;     ///< of the scores; usually 1 / sqrt(head size)
};

/// Grouped-query attention over sequences laid end to end; none sees across its borders.
///
/// Shapes   q (N, Hq, D); k, v (N, Hk, D), Hq a multiple of Hk; lengths sum to N; result (N, Hq, D).
/// Gradient exact. Keeps q, k, v, the output and one number a query and head; probabilities are made again in the backward pass,
///          a block of queries at a time, and blocks of keys that no query sees are never touched.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::span<const int32_t> lengths,
                     const AttentionShape& shape);

/// One sequence's new queries against all its keys so far (inference with a cache; no gradient).
/// Shapes   q (T, Hq, D), the last T positions of k, v (L, Hk, D), L >= T; result (T, Hq, D).
at::Tensor attention_with_cache(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionShape& shape);

}  // namespace graft::ops
