#include "apps/cloud_clip/cloud_clip.h"

#include "apps/cloud_clip/commands.h"

namespace graft::apps {

using pipelines::Option;

pipelines::App cloud_clip() {
  return {.name = "cloud_clip",
          .summary = "labels point clouds with CLIP, learns from a few, adapts to another sensor",
          .commands = {
              {.name = "export",
               .summary = "folds the adapter into the weights, writes a Hugging Face folder and measures its own error",
               .needs = {{Option::kModel}, {Option::kAdapter}, {Option::kOut}},
               .takes = {},
               .run = cloud::export_model},
              {.name = "inspect",
               .summary = "shapes, parameters, features of prepared images and token ids",
               .needs = {{Option::kModel}},
               .takes = {Option::kAdapter, Option::kConfig, Option::kSet, Option::kLogits, Option::kOut},
               .run = cloud::inspect},
          }};
}

}  // namespace graft::apps
