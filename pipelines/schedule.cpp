#include "pipelines/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/base/error.h"

namespace graft::pipelines {

int64_t warmup_steps(double ratio, int64_t total_steps) {
  return static_cast<int64_t>(std::ceil(ratio * static_cast<double>(total_steps)));
}

double schedule_factor(Schedule schedule, int64_t step, int64_t warmup, int64_t total_steps) {
  const auto at_least_one = [](int64_t count) { return static_cast<double>(std::max<int64_t>(1, count)); };
  if (step < warmup) return static_cast<double>(step) / at_least_one(warmup);
  const double span = at_least_one(total_steps - warmup);
  switch (schedule) {
    case Schedule::kConstant: return 1.0;
    case Schedule::kLinear: return std::max(0.0, static_cast<double>(total_steps - step) / span);
    case Schedule::kCosine:
      return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * static_cast<double>(step - warmup) / span)));
  }
  GRAFT_ASSERT(false);
}

}  // namespace graft::pipelines
