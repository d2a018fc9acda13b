#pragma once

#include <cstdint>

#include "peft_core/base/config.h"
#include "peft_core/backbones/clip/clip_config.h"
#include "pipelines/train.h"

namespace graft::pipelines {

/// The section `model`: sizes of a CLIP that is trained from nothing.
struct SmallClipConfig {
  int64_t image_size = 112, patch_size = 16, width = 192, layers = 4, heads = 3;
  int64_t text_width = 128, text_layers = 2, text_heads = 2, positions = 32;
  int64_t joint = 128;

  template <class V>
  void visit(V& v) {
    v("image_size", image_size, "pixels a side that the image tower looks at");
    v("patch_size", patch_size, "pixels a side of a patch");
    v("width", width, "of the image tower");
    v("layers", layers, "of the image tower");
    v("heads", heads, "of the image tower");
    v("text_width", text_width, "of the text tower");
    v("text_layers", text_layers, "of the text tower");
    v("text_heads", text_heads, "of the text tower");
    v("positions", positions, "tokens of a text at most");
    v("joint", joint, "size of the space where images and texts meet");
  }
};

/// The section `shapes`: the objects that it is trained on.
struct ShapesConfig {
  int64_t points = 2048;
  double scan_share = 0.6;
  int64_t views = 2;

  template <class V>
  void visit(V& v) {
    v("points", points, "drawn from an object's surface");
    v("scan_share", scan_share, "of the objects that are seen as a sensor sees them: sparse, noisy, partly hidden");
    v("views", views, "of the ten views of an object that a step looks at");
  }
};

/// The section `train`.
struct PretrainConfig {
  int64_t max_steps = 1000, batch_size = 48;
  double learning_rate = 1e-3, weight_decay = 0.05, warmup_ratio = 0.05, clip_norm = 1;
  int64_t seed = 42, save_every = 0, evaluate_every = 0, held_out = 6;

  template <class V>
  void visit(V& v) {
    v("max_steps", max_steps, "optimizer steps");
    v("batch_size", batch_size, "objects a step");
    v("learning_rate", learning_rate, "highest learning rate, reached after the warm-up; a cosine leads back to 0");
    v("weight_decay", weight_decay, "decoupled decay of matrices; 0: off");
    v("warmup_ratio", warmup_ratio, "share of the steps over which the learning rate rises from 0; 0: off");
    v("clip_norm", clip_norm, "largest norm of the gradient over all parameters; 0: off");
    v("seed", seed, "of the model's start, the objects, their views and captions");
    v("save_every", save_every, "steps between saved states; 0: every 50 steps or two minutes, whichever is sooner");
    v("evaluate_every", evaluate_every, "steps between evaluations; 0: only at the end");
    v("held_out", held_out, "objects of each kind that an evaluation looks at");
  }
};

/// Throw InvalidArgument for the first value outside its range.
void validate(const SmallClipConfig& config);
void validate(const ShapesConfig& config);
void validate(const PretrainConfig& config);

/// The model's shape for a tokenizer's vocabulary. Throws InvalidArgument.
peft::ClipConfig clip_config(const SmallClipConfig& config, int64_t vocabulary, int64_t end_token);

/// What train() needs of it, with CLIP's own constants of AdamW; run_dir, resume and fingerprint are left to the caller.
TrainOptions train_options(const PretrainConfig& config);

}  // namespace graft::pipelines
