#pragma once

#include <cstdint>

#include "kernels/rows/element.h"

namespace graft::kernels {

/// Which keys each query of a block may see. Scores are laid out (groups, queries, keys): the same queries for every group.
struct AttentionBlock {
  int64_t groups = 0;          ///< independent head groups
  int64_t queries = 0;         ///< queries of the block
  int64_t keys = 0;            ///< keys of the block, numbered from 0
  int64_t first_position = 0;  ///< position of the block's first query among the keys
  bool causal = true;          ///< a query sees keys up to its own position
  int64_t window = 0;          ///< with causal: only the last `window` keys; 0: all
  float scale = 1.0f;          ///< applied to the scores, positive
};

/// scores <- softmax(scale · scores) over the visible keys, 0 elsewhere; log_sum_exp (groups, queries), fp32.
void softmax_rows(Element type, const AttentionBlock& block, void* scores, float* log_sum_exp);

/// With P = exp(scale · scores − log_sum_exp): scores <- P, and gradient (dP) <- scale · P ⊙ (dP − delta).
/// delta (groups, queries) = Σ dO ⊙ O.
void softmax_rows_backward(Element type, const AttentionBlock& block, const float* log_sum_exp, const float* delta, void* scores,
                           void* gradient);

}  // namespace graft::kernels
