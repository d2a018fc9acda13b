#pragma once

#include <algorithm>
#include <iterator>

namespace graft::kernels {

/// The first variant of a list, best first, that this processor (under GRAFT_CPU's limit) can run; the last one runs everywhere.
template <class Variants>
const auto& best_variant_of(const Variants& variants) {
  return *std::find_if(std::begin(variants), std::prev(std::end(variants)), [](const auto& variant) { return variant.supported(); });
}

}  // namespace graft::kernels
