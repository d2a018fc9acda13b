#pragma once

#include <filesystem>
#include <vector>

#include "apps/cloud_clip/adaptation_settings.h"
#include "pipelines/cli/invocation.h"
#include "pipelines/cloud/cloud_samples.h"

namespace graft::apps::cloud {

/// What a run learns from.
struct AdaptationData {
  pipelines::CloudSet source, target, held_out;  ///< target and held_out may be empty
  std::vector<std::filesystem::path> files;  ///< for the manifest
};

/// Loads the model, attaches the method, trains, saves adapter and head, prints the result as JSON. With a target: rolls back where
/// run.rollback says so.
void run_adaptation(const pipelines::Invocation& call, AdaptationSettings settings, AdaptationData data);

}  // namespace graft::apps::cloud
