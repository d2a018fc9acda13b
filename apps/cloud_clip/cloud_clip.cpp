#include "apps/cloud_clip/cloud_clip.h"

#include "apps/cloud_clip/adaptation_settings.h"
#include "apps/cloud_clip/commands.h"
#include "apps/cloud_clip/zero_shot_settings.h"

namespace graft::apps {

using pipelines::Option;

pipelines::App cloud_clip() {
  return {.name = "cloud_clip",
          .summary = "labels point clouds with CLIP, learns from a few, adapts to another sensor",
          .commands = {
              {.name = "pretrain",
               .summary = "trains a small CLIP from nothing on objects that the program makes, in minutes",
               .needs = {{Option::kOut}},
               .takes = {Option::kConfig, Option::kSet, Option::kSeed, Option::kResume},
               .run = cloud::pretrain,
               .settings_help = cloud::pretrain_settings_help},
              {.name = "prepare",
               .summary = "reads scans, cleans them, cuts scenes into objects, and writes a data folder",
               .needs = {{Option::kInput, Option::kData}, {Option::kOut}},
               .takes = {Option::kConfig, Option::kSet, Option::kSeed},
               .run = cloud::prepare,
               .settings_help = cloud::zero_shot_settings_help},
              {.name = "train",
               .summary = "learns from a few labelled clouds",
               .needs = {{Option::kModel}, {Option::kData}, {Option::kOut}},
               .takes = {Option::kShots, Option::kEvalData, Option::kMethod, Option::kConfig, Option::kSet, Option::kSeed, Option::kResume, Option::kDryRun},
               .run = cloud::train,
               .settings_help = [] { return cloud::adaptation_settings_help(/*has_target=*/false); }},
              {.name = "adapt",
               .summary = "adapts to another sensor's clouds, without their labels",
               .needs = {{Option::kModel}, {Option::kSource}, {Option::kTarget}, {Option::kOut}},
               .takes = {Option::kShots, Option::kMethod, Option::kConfig, Option::kSet, Option::kSeed, Option::kResume, Option::kDryRun},
               .run = cloud::adapt,
               .settings_help = [] { return cloud::adaptation_settings_help(/*has_target=*/true); }},
              {.name = "eval",
               .summary = "accuracy, calibration and confusion on a folder of labelled clouds",
               .needs = {{Option::kModel}, {Option::kData}, {Option::kOut}},
               .takes = {Option::kAdapter, Option::kClasses, Option::kClassesFile, Option::kConfig, Option::kSet, Option::kSeed},
               .run = cloud::eval,
               .settings_help = cloud::zero_shot_settings_help},
              {.name = "predict",
               .summary = "labels clouds, or the objects of a scene, with the classes that are named",
               .needs = {{Option::kModel}, {Option::kInput}, {Option::kClasses, Option::kClassesFile}, {Option::kOut}},
               .takes = {Option::kAdapter, Option::kConfig, Option::kSet, Option::kSeed},
               .run = cloud::predict,
               .settings_help = cloud::zero_shot_settings_help},
              {.name = "views",
               .summary = "the depth pictures that CLIP sees, as PNG files",
               .needs = {{Option::kInput}, {Option::kOut}},
               .takes = {Option::kConfig, Option::kSet, Option::kSeed},
               .run = cloud::views,
               .settings_help = cloud::zero_shot_settings_help},
              {.name = "shapes",
               .summary = "writes clouds of objects that the program makes, to try things out",
               .needs = {{Option::kClasses, Option::kClassesFile}, {Option::kOut}},
               .takes = {Option::kConfig, Option::kSet, Option::kSeed},
               .run = cloud::shapes,
               .settings_help = cloud::shapes_settings_help},
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
