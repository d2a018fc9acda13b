#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "peft_core/slots/adapter.h"

namespace graft::peft {

/// The update of one linear layer.
struct LayerUpdate {
  std::string layer;  ///< "model.layers.0.self_attn.q_proj"
  LowRankUpdate update;
};
using LowRankUpdates = std::vector<LayerUpdate>;

/// The update as a matrix, (out, in) fp32.
at::Tensor dense_update(const LowRankUpdate& update);

/// The product b a of rank `rank` that is nearest to `delta` (out, in) by the sum of squares: b holds left singular vectors times singular
/// values, a the right ones, so that a's rows are orthonormal. The rank is cut to min(out, in).
/// Computed from the smaller Gram matrix in float64, which resolves singular values down to 1e-8 of the largest, as fp32 data do.
LowRankUpdate nearest_low_rank(const at::Tensor& delta, int64_t rank);

/// The same for Σ scale_i b_i a_i, without making that sum: only the factors are decomposed.
LowRankUpdate nearest_low_rank(const std::vector<LowRankUpdate>& sum, int64_t rank);

}  // namespace graft::peft
