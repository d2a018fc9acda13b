#pragma once

#include <string>

#include "apps/cloud_clip/folder_config.h"
#include "data_loaders/cloud/preparation.h"
#include "pipelines/base_config.h"
#include "pipelines/cli/invocation.h"
#include "pipelines/cloud/class_prompts.h"
#include "pipelines/cloud/zero_shot.h"

namespace graft::apps::cloud {

/// The section `input`: how clouds are read and prepared.
struct InputConfig {
  data::PreparationSettings preparation;
  int64_t mesh_points = 2048;

  template <class V>
  void visit(V& v) {
    preparation.visit(v);
    v("mesh_points", mesh_points, "points drawn from the surface of a mesh");
  }
};

/// The section `zero_shot`: from views to an answer.
struct ZeroShotConfig {
  pipelines::ZeroShotMode mode = pipelines::ZeroShotMode::kEntropy;
  pipelines::Projection projection = pipelines::Projection::kPointclipV2;
  pipelines::PromptConfig prompts;

  template <class V>
  void visit(V& v) {
    v("mode", mode, "how views become one answer: mean, entropy (the surer half), pointclip, pointclip_v2 (fixed weights of the views)");
    v("projection", projection, "how clouds become pictures: pointclip_v2, pointclip (its six views), pointclip_ten; with --adapter, that of the run");
    prompts.visit(v);
  }
};

/// The section `predict`.
struct PredictConfig {
  double none_below = 0;
  double none_above_entropy = 0;
  int64_t top = 5;
  int64_t batch = 16;
  int64_t shown = 12;
  int64_t points_shown = 20000;

  template <class V>
  void visit(V& v) {
    v("none_below", none_below, "the label is 'none of these' where the probability is below this; 0: never");
    v("none_above_entropy", none_above_entropy, "and where the entropy is above this, in nats; 0: never");
    v("top", top, "labels with their probabilities in predictions.jsonl");
    v("batch", batch, "clouds that go through the model together");
    v("shown", shown, "clouds in the report, with the sheets of their views as PNG files");
    v("points_shown", points_shown, "points of a cloud in the report at most");
  }
};

/// The section `scene`: a file is a scene of many objects.
struct SceneConfig {
  bool objects = false;
  bool ground = true;
  double ground_thickness = 0.2;
  double ground_slope = 20;
  double distance = 0.5;
  int64_t least_points = 30;
  int64_t most_points = 1'000'000;

  template <class V>
  void visit(V& v) {
    v("objects", objects, "cut each file into its objects and label those (needs PCL)");
    v("ground", ground, "take the ground off first");
    v("ground_thickness", ground_thickness, "points this near to the ground's plane belong to it, in the file's unit");
    v("ground_slope", ground_slope, "degrees that the ground may lean");
    v("distance", distance, "points nearer than this belong to one object, in the file's unit");
    v("least_points", least_points, "of an object");
    v("most_points", most_points, "of an object");
  }
};

struct ZeroShotRunConfig {
  int64_t threads = 0;
  int64_t seed = 42;

  template <class V>
  void visit(V& v) {
    v("threads", threads, "processor threads; 0: all that the machine has");
    v("seed", seed, "of the points drawn from meshes and large clouds");
  }
};

/// All settings of predict, eval and views.
struct ZeroShotSettings {
  pipelines::BaseConfig base;
  InputConfig input;
  ZeroShotConfig zero_shot;
  PredictConfig predict;
  SceneConfig scene;
  FolderConfig data;
  ZeroShotRunConfig run;

  std::string to_yaml() const;
};

/// Reads and checks everything, and puts run.threads in force; --seed wins over run.seed. Throws InvalidArgument for unknown sections, keys, values.
ZeroShotSettings read_zero_shot_settings(const pipelines::Invocation& call);
std::string zero_shot_settings_help();

}  // namespace graft::apps::cloud
