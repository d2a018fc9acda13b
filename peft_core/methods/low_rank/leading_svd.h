#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace graft::peft {

/// M ≈ U diag(s) Vᵀ with the largest singular values, in descending order.
struct LeadingSvd {
  at::Tensor u, s, v;  ///< (m, k), (k), (n, k)
};

/// The first `count` of the full decomposition.
LeadingSvd leading_svd(const at::Tensor& matrix, int64_t count);

/// `count` directions from a random start and `iterations` rounds of subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4), without
/// further directions, as torch.svd_lowrank(q = count, niter = iterations). The same for the same seed.
LeadingSvd iterated_svd(const at::Tensor& matrix, int64_t count, int64_t iterations, uint64_t seed);

}  // namespace graft::peft
