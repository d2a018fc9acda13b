#pragma once

#include <cmath>
#include <cstdint>

namespace graft::peft {

/// How many triplets all layers together may keep, step by step; steps count from 1.
struct AdaloraSchedule {
  int64_t first = 0, last = 0;       ///< triplets at the start and at the end
  int64_t tinit = 0, tfinal = 0, interval = 1;
  int64_t total = 0;                 ///< steps; 0: ranks stay as they are

  /// After this step the allocation is settled; the last tfinal steps train what is left.
  int64_t settled() const { return total - tfinal; }
  /// Scores are gathered before it.
  bool scores_at(int64_t step) const { return total > 0 && step < settled(); }
  bool cuts_at(int64_t step) const { return scores_at(step) && step > tinit && step % interval == 0; }

  /// first, then falling with the cube of the remaining share to last.
  int64_t budget_at(int64_t step) const {
    if (step <= tinit) return first;
    if (step > settled()) return last;
    const double remaining = 1 - static_cast<double>(step - tinit) / static_cast<double>(settled() - tinit);
    return static_cast<int64_t>(static_cast<double>(first - last) * std::pow(remaining, 3) + static_cast<double>(last));
  }
};

}  // namespace graft::peft
