#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "peft_core/checkpoint/adapter_files.h"
#include "peft_core/operations/low_rank_updates.h"

namespace graft::peft {

/// The updates of a plain LoRA adapter's file, without a model: in the order of layer numbers and names.
/// Throws InvalidArgument for another method, for saved parameters beside the updates, and for factors that do not fit each other.
LowRankUpdates low_rank_updates(const AdapterFiles& files, const std::string& where);

/// Writes updates as a plain LoRA adapter, scale 1 in every layer (alpha is the rank). A scale that is another is multiplied into B.
/// `targets`: target_modules, PEFT's own forms; empty: the full names of the layers.
void write_low_rank(const std::filesystem::path& folder, const LowRankUpdates& updates, const std::vector<std::string>& targets,
                    const AdapterOrigin& origin);

/// The endings that choose the layers of all these adapters together, where each adapter names its layers by endings; else empty.
std::vector<std::string> common_targets(const std::vector<AdapterFiles>& adapters);

}  // namespace graft::peft
