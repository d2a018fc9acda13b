#pragma once

#include <functional>
#include <vector>

#include "apps/agri_tune/settings.h"
#include "pipelines/language/language_model.h"

namespace graft::apps::agri {

/// The adapters of --adapters with the weights of --weights; a name that is not given is that of the folder.
/// Throws InvalidArgument for another number of weights than adapters and for weights that are no numbers.
std::vector<peft::MixturePart> chosen_adapters(const pipelines::Invocation& call);

/// Attaches what --adapter or --adapters names, if anything. Throws InvalidArgument for both at once.
void load_chosen_adapters(pipelines::LanguageModel& language, const pipelines::Invocation& call, const Settings& settings);

/// Which adapters work on a row of data: what its field `adapter` says; empty where there is one adapter or none.
/// Throws InvalidArgument for rows that ask for an adapter where there are not several, and for an adapter that is not there.
std::function<peft::AdapterWeights(const data::Record&)> adapters_of_rows(const pipelines::LanguageModel& language,
                                                                          const std::vector<data::Record>& records);

}  // namespace graft::apps::agri
