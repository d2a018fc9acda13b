#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>

#include "apps/cloud_clip/zero_shot_settings.h"
#include "data_loaders/cloud/point_cloud.h"
#include "peft_core/checkpoint/clip_files.h"
#include "pipelines/cloud/adapted_clip.h"

namespace graft::apps::cloud {

/// CLIP, with what a run of `train` or `adapt` has learnt where one is given, and the features of the classes: gives clouds their labels.
class CloudLabeller {
 public:
  /// Opens --model and --adapter. Throws what reading them throws.
  CloudLabeller(const pipelines::Invocation& call, const ZeroShotConfig& config, const pipelines::BaseConfig& base, std::vector<pipelines::CloudClass> classes);

  const std::vector<pipelines::CloudClass>& classes() const { return classes_; }
  std::vector<std::string> names() const;
  int64_t side() const { return model_->config().vision.image_size; }  ///< of a view, in pixels
  pipelines::Projection projection() const { return projection_; }  ///< of the settings, or that of the run
  const std::string& fingerprint() const { return files_.folder.fingerprint; }

  /// The clouds' views as people look at them, (B, M, S, S) in [0, 1], and one answer a cloud.
  struct Labelled {
    at::Tensor views;
    std::vector<pipelines::CloudAnswer> answers;
  };
  Labelled label(std::span<const data::PointCloud> clouds) const;

 private:
  /// (B, M, K)
  at::Tensor logits_of(const at::Tensor& views, std::span<const data::PointCloud> clouds) const;
  std::string fingerprint_with_adapter(const std::string& adapter) const;

  ZeroShotConfig config_;
  pipelines::Projection projection_;
  std::vector<pipelines::CloudClass> classes_;
  peft::ClipFiles files_;
  std::unique_ptr<peft::ClipModel> model_;
  std::unique_ptr<pipelines::AdaptedModel> adapted_;  // null without --adapter
  at::Tensor features_;                               // (K, J)
};

/// --classes or --classes-file, of which one is given.
std::vector<pipelines::CloudClass> classes_of(const pipelines::Invocation& call);

}  // namespace graft::apps::cloud
