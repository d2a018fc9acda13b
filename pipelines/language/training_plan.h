#pragma once

#include <string>

#include "data_loaders/text/packing.h"
#include "data_loaders/text/token_set.h"
#include "peft_core/backbones/memory_plan.h"
#include "pipelines/language/language_model.h"
#include "pipelines/language/language_train_config.h"

namespace graft::pipelines {

/// What a run will need, decided before it starts.
struct TrainingPlan {
  peft::MemoryPlan memory;
  peft::Checkpointing checkpointing = peft::Checkpointing::kOff;
  int64_t available = 0;   ///< bytes
  std::string advice;      ///< how to make it fit; empty if it does
  std::string text;        ///< the audit for people: parameters, data, memory
};

/// Sizes of a micro step of `tokens` tokens on this model and method.
peft::MemoryDemand memory_demand(const LanguageModel& language, int64_t tokens);

/// With checkpointing `auto`, it is switched on if the plan without it would take more than four fifths of the free memory.
TrainingPlan plan_training(const LanguageModel& language, const data::TokenSet& samples, const LanguageTrainConfig& config);

/// Throws Unavailable with the setting that would make the run fit.
void refuse_if_too_large(const TrainingPlan& plan);

/// Says what was cut or dropped, if anything was.
void log_fit(const data::FitReport& report);

}  // namespace graft::pipelines
