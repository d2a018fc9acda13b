#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "peft_core/backbones/clip/clip_model.h"

namespace graft::pipelines {

/// A CLIP of which everything is trained: the same network as peft::ClipModel, whose weights are frozen by design, in plain operators with
/// gradients. Parameters bear the names of Hugging Face's CLIPModel, so that a written folder is that model.
class SmallClip {
 public:
  /// Starts as OpenAI's CLIP does (Radford et al. 2021, arXiv:2103.00020): normal numbers whose deviations follow width and depth, biases 0,
  /// a logit scale of 1 / 0.07. The same bits for the same seed.
  SmallClip(peft::ClipConfig config, uint64_t seed);

  const peft::ClipConfig& config() const { return config_; }
  /// Leaves with requires_grad, fp32, contiguous.
  const std::map<std::string, at::Tensor>& parameters() const { return parameters_; }
  int64_t parameter_count(const std::string& prefix = "") const;  ///< of those whose names begin so

  /// images (B, 3, H, W) fp32, H and W as configured -> (B, J), not yet of unit length.
  at::Tensor image_features(const at::Tensor& images) const;
  /// texts (K) as token ids, start and end tokens included -> (K, J), not yet of unit length.
  at::Tensor text_features(const peft::TextIds& texts) const;
  /// exp(logit_scale), a scalar.
  at::Tensor scale() const { return parameter("logit_scale").exp(); }
  /// Holds the scale at 100 or less, as CLIP does. To be called after each update.
  void limit_scale();

  /// Writes model.safetensors, preprocessor_config.json and, last, config.json, each beside its place and renamed: a folder with a
  /// config.json is whole. Throws IoError.
  void write(const std::filesystem::path& folder) const;

 private:
  const at::Tensor& parameter(const std::string& name) const { return parameters_.at(name); }
  at::Tensor linear(const at::Tensor& x, const std::string& name) const;
  at::Tensor norm(const at::Tensor& x, const std::string& name, double epsilon) const;
  at::Tensor encoder(at::Tensor x, const std::string& tower, const peft::EncoderShape& shape) const;
  void start_tower(const std::string& tower, const peft::EncoderShape& shape, uint64_t seed);
  void start(const std::string& name, std::vector<int64_t> shape, double deviation, uint64_t seed);
  void start_constant(const std::string& name, std::vector<int64_t> shape, double value);

  peft::ClipConfig config_;
  std::map<std::string, at::Tensor> parameters_;
};

/// CLIP's symmetric loss where several texts fit one image: captions of one kind come again in a batch, and a caption that fits is no
/// counter-example. For each image the target is spread evenly over the texts that fit it, for each text over the images.
///
/// logits (B, K); fits (B, K) fp32, 1 where text k fits image b, at least one in each row and column. Returns the sum over the images of the
/// mean of both cross-entropies (B == K for the two sums to weigh alike).
/// Source   supervised contrastive targets, Khosla et al. 2020 (arXiv:2004.11362), as UniCL uses them for image and text (arXiv:2204.03610).
at::Tensor many_positives_loss(const at::Tensor& logits, const at::Tensor& fits);

}  // namespace graft::pipelines
