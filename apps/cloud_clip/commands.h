#pragma once

#include "pipelines/cli/invocation.h"

// One function a subcommand; each in the file of its name.
namespace graft::apps::cloud {

void export_model(const pipelines::Invocation& call);
void inspect(const pipelines::Invocation& call);

}  // namespace graft::apps::cloud
