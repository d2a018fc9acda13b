#include "apps/cloud_clip/cloud_clip.h"

#include "apps/cloud_clip/commands.h"

namespace graft::apps {

using pipelines::Option;

pipelines::App cloud_clip() {
  return {.name = "cloud_clip",
          .summary = "labels point clouds with CLIP, learns from a few, adapts to another sensor",
          .commands = {
              {.name = "inspect",
               .summary = "shapes, parameters, features of prepared images and token ids",
               .needs = {{Option::kModel}},
               .takes = {Option::kAdapter, Option::kConfig, Option::kSet, Option::kLogits, Option::kOut},
               .run = cloud::inspect},
          }};
}

}  // namespace graft::apps
