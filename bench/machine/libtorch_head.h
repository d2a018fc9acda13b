#pragma once

#include <ATen/core/Tensor.h>

namespace graft::bench {

/// Loss of a frozen head and its gradient by LibTorch's operators alone, `chunk` rows at a time so that the logits stay small.
struct HeadResult {
  at::Tensor nll;       ///< (M) fp32
  at::Tensor gradient;  ///< (M, C) of Σ nll, in the dtype of hidden
};
/// hidden (M, C), weight (V, C), targets (M) int64.
HeadResult head_with_libtorch(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk);

/// The number of rows that is fastest here, of a few, tried on the first 512.
int64_t best_chunk(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets);

}  // namespace graft::bench
