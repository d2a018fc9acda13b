#pragma once

#include "pipelines/cli/app.h"

namespace graft::apps {

/// CLIP on point clouds: zero-shot, few-shot and unsupervised domain adaptation (after CLIPoint3D, PointCLIP and PointCLIP V2).
pipelines::App cloud_clip();

}  // namespace graft::apps
