#pragma once

#include <string>

#include "peft_core/base/config.h"

namespace graft::pipelines {

enum class OptimizerKind { kAdamW, kSgd };

inline EnumNames<OptimizerKind> config_names(OptimizerKind) { return {{"adamw", OptimizerKind::kAdamW}, {"sgd", OptimizerKind::kSgd}}; }

}  // namespace graft::pipelines
