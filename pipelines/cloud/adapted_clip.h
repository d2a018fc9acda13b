#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "peft_core/methods/method.h"
#include "pipelines/cloud/class_texts.h"
#include "pipelines/cloud/point_net.h"
#include "pipelines/cloud/prompts.h"
#include "pipelines/cloud/view_adapter.h"

namespace graft::pipelines {

/// What AdaptedClip says about clouds. B clouds, M views, K classes, J joint space.
struct CloudScores {
  at::Tensor features;   ///< (B, M, J), unit length
  at::Tensor logits;     ///< (B, M, K)
  at::Tensor transform;  ///< (B, 64, 64) PointNet's feature transform; undefined without picture prompts
};

/// CLIP with what is learnt around it: prompts in texts and pictures, PointNet, PointCLIP's adapter. Adapters in the towers are the
/// model's own business (peft::Attachment). Source: CLIPoint3D, arXiv:2602.20409.
///
/// To be made before adapters are attached: descriptions are read by the frozen text tower.
class AdaptedClip {
 public:
  /// `model` outlives it. Random starts follow `seed`.
  AdaptedClip(peft::ClipModel& model, const TextEncoder& encoder, std::vector<std::string> classes, CloudConfig config, uint64_t seed);

  /// Features of the classes, (K, J) of unit length. Do not depend on the clouds: once a step is enough.
  at::Tensor texts(const peft::ForwardContext& context) const;
  /// views (B, M, S, S) in [0, 1], points (B, N, 3) (only looked at with picture prompts, else may be undefined), texts (K, J).
  CloudScores forward(const at::Tensor& views, const at::Tensor& points, const at::Tensor& texts, const peft::ForwardContext& context) const;
  /// Which of a cloud's views decide: (B, M, K) -> (B, M) bool, as config().views says.
  at::Tensor deciding_views(const at::Tensor& logits) const;

  bool wants_points() const { return in_vision(config_.prompts); }
  /// True if texts() depends on something that is trained here.
  bool learns_texts() const { return in_text(config_.prompts); }
  peft::NamedTensors leaves() const;      ///< all that is saved
  peft::NamedTensors trainable() const;   ///< those that the mode trains and that have an effect
  peft::NamedTensors statistics() const;  ///< saved too: running means and variances
  const CloudConfig& config() const { return config_; }
  const std::vector<std::string>& classes() const { return classes_; }
  peft::ClipModel& model() const { return model_; }

  /// Writes folder/cloud_head.safetensors, atomically.
  void save(const std::filesystem::path& folder) const;
  /// Copies the values of folder/cloud_head.safetensors. Throws IoError, InvalidArgument for what is missing or of another shape.
  void load(const std::filesystem::path& folder);

 private:
  void start_text_prompt(at::Generator& draw);
  void start_picture_prompt(at::Generator& draw);
  at::Tensor picture_prompt(const at::Tensor& points, bool training, at::Tensor& transform) const;

  peft::ClipModel& model_;
  CloudConfig config_;
  std::vector<std::string> classes_;
  ClassTexts texts_;
  at::Tensor descriptions_;                  // (K, J), frozen
  at::Tensor text_context_, picture_tokens_; // (P, C) of their towers
  CrossAttention text_attention_, picture_attention_;
  PointNet point_net_;
  Dense point_inner_, point_outer_, point_to_picture_;
  ViewAdapter view_adapter_;
};

/// What cloud_head.safetensors says about itself.
struct CloudHeadFile {
  CloudConfig config;
  std::vector<std::string> classes;
};
/// None if the folder holds no such file: an adapter alone, from PEFT for instance. Throws IoError for a damaged one.
std::optional<CloudHeadFile> read_cloud_head(const std::filesystem::path& folder);

/// A model with everything of a run folder at work on it.
struct AdaptedModel {
  std::unique_ptr<AdaptedClip> clip;
  std::unique_ptr<peft::Attachment> attachment;  ///< none for a run that trained no adapter
};

/// For predict and eval. `classes` empty: those that the run learnt. `fingerprint`: of the model's folder, as peft::attach_adapter() wants it.
AdaptedModel load_adapted(peft::ClipModel& model, const std::string& fingerprint, const TextEncoder& encoder, const std::filesystem::path& folder,
                          std::vector<std::string> classes, bool accept_other = false);

}  // namespace graft::pipelines
