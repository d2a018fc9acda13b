#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "peft_core/operations/low_rank_updates.h"

namespace graft::peft {

/// How several LoRA adapters become one: the combinations of PEFT's add_weighted_adapter.
enum class Combination {
  kLinear, kCat, kSvd, kTies, kTiesSvd, kDareLinear, kDareTies, kDareLinearSvd, kDareTiesSvd, kMagnitudePrune, kMagnitudePruneSvd
};
enum class MajoritySign { kTotal, kFrequency };

/// "linear", "cat", "svd", "ties", ... in the order of the enum.
const std::vector<std::string>& combination_names();
/// Throws InvalidArgument with the nearest and all names.
Combination combination(const std::string& name);
/// "total" or "frequency". Throws InvalidArgument.
MajoritySign majority_sign(const std::string& name);

struct CombinationOptions {
  Combination how = Combination::kSvd;
  double density = 1;             ///< share of values that pruning keeps, in [0, 1]; for ties, dare and magnitude_prune
  MajoritySign majority = MajoritySign::kTotal;
  int64_t rank = 0;               ///< of the result, for the svd kinds; 0: the largest among the adapters
  uint64_t seed = 42;             ///< of dare's random pruning: torch's generator in PEFT's order
};

/// One adapter with scale 1 from several. A layer that only some of the adapters change is made from those.
///   cat                  the weighted sum exactly, of the sum of the ranks
///   svd, *_svd           that sum, or the pruned ones, cut to a rank by singular values
///   linear, ties, dare_linear, dare_ties, magnitude_prune   A and B of equal rank combined each by itself, with factors √|w s|: quick and rough
/// One adapter alone is scaled ("linear"), whatever `how` says.
/// Throws   InvalidArgument for no adapter, a number of weights that is another, weights that are no numbers, a density outside [0, 1], and
///          layers of different ranks where the kind needs equal ones.
/// Source   Yadav et al. 2023, arXiv:2306.01708 (ties); Yu et al. 2023, arXiv:2311.03099 (dare); behaviour of PEFT 0.21.
LowRankUpdates combined(const std::vector<LowRankUpdates>& adapters, std::span<const double> weights, const CombinationOptions& options);

}  // namespace graft::peft
