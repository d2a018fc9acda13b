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
  bool second_packing = false;  ///< dense weights are laid out for backward products too
  int64_t available = 0;   ///< bytes
  std::string advice;      ///< how to make it fit; empty if it does
  std::string text;        ///< the audit for people: parameters, data, memory
};

/// Whether dense weights get a second copy, in the order of backward products, where memory allows it: `auto` says where that is quicker
/// for micro steps of `tokens` tokens.
bool second_packing_wanted(Switch setting, int64_t tokens);

/// Sizes of a micro step of `tokens` tokens on this model and method, with a second copy of all weights that can have one.
peft::MemoryDemand memory_demand(const LanguageModel& language, int64_t tokens);

/// If the plan would take more than four fifths of the free memory, what is `auto` gives way: first the second copy of dense weights,
/// then the activations (checkpointing).
TrainingPlan plan_training(const LanguageModel& language, const data::TokenSet& samples, const LanguageTrainConfig& config);

/// Makes the model's weights lie as the plan says. Before the first training step.
void choose_packings(const LanguageModel& language, const TrainingPlan& plan);

/// Throws Unavailable with the setting that would make the run fit.
void refuse_if_too_large(const TrainingPlan& plan);

/// Says what was cut or dropped, if anything was.
void log_fit(const data::FitReport& report);

}  // namespace graft::pipelines
