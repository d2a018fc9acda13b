#pragma once

#include "pipelines/cli/app.h"

namespace graft::apps {

/// Fine-tunes, evaluates, uses and exports language models on agricultural text (after the workflow of AgriTune-R).
pipelines::App agri_tune();

}  // namespace graft::apps
