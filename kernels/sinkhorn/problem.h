#pragma once

// Private to this folder: what the reference and the fast variant do alike before the first update.

#include <vector>

#include "kernels/sinkhorn/sinkhorn.h"

namespace graft::kernels::detail {

/// Throws as sinkhorn_divergence() says.
template <class Number>
void check(const TwoBatches<Number>& batches, const SinkhornOptions& options);

/// Diagonal of the box around both batches.
template <class Number>
double diameter_of(const TwoBatches<Number>& batches);

/// The ε of each averaged update, the largest first; the last is the one of the update that is not averaged. `diameter` is positive.
std::vector<double> epsilons(double diameter, const SinkhornOptions& options);

}  // namespace graft::kernels::detail
