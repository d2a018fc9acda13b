#include "bench/machine/ceilings.h"

#include <algorithm>

namespace graft::bench {

double Ceilings::products() const { return std::max({tiles_bf16, vectors_bf16, vectors_fp32}); }

double Ceilings::memory_seconds(double read, double written) const {
  const auto fits = [&](const MemoryLevel& level) { return read + written <= static_cast<double>(level.holds); };
  const auto found = std::find_if(memory.begin(), memory.end(), fits);
  const auto& level = found == memory.end() ? memory.back() : *found;
  return read / level.read + written / std::max(level.write, level.write_past_caches);
}

Ceilings measure_ceilings() {
  Ceilings ceilings;
  measure_arithmetic(ceilings);
  measure_memory(ceilings);
  return ceilings;
}

}  // namespace graft::bench
