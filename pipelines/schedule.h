#pragma once

#include <cstdint>
#include <string>

#include "peft_core/base/config.h"

namespace graft::pipelines {

enum class Schedule { kConstant, kLinear, kCosine };

inline EnumNames<Schedule> config_names(Schedule) {
  return {{"constant", Schedule::kConstant}, {"linear", Schedule::kLinear}, {"cosine", Schedule::kCosine}};
}

/// ceil(ratio * total_steps), as the Hugging Face trainer rounds; 0 for ratio 0.
int64_t warmup_steps(double ratio, int64_t total_steps);

/// Factor on the learning rate in the update of `step`, counted from 0: rises linearly from 0 over the warm-up, then
/// stays at 1, falls linearly to 0 at total_steps, or follows half a cosine to 0.
/// Source   the values of Hugging Face's get_{constant,linear,cosine}_schedule_with_warmup; as there, the first update
///          of a run with warm-up has factor 0.
double schedule_factor(Schedule schedule, int64_t step, int64_t warmup, int64_t total_steps);

}  // namespace graft::pipelines
