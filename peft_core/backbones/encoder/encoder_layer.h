#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>

#include "kernels/rows/activation_rows.h"
#include "peft_core/backbones/layer_reader.h"
#include "peft_core/slots/targets.h"

namespace graft::peft {

/// Sizes of a transformer encoder whose norms stand before its blocks.
struct EncoderShape {
  int64_t width = 0;       ///< C
  int64_t inner = 0;       ///< of the feed-forward block
  int64_t heads = 0;
  int64_t layers = 0;
  double norm_epsilon = 1e-5;
  kernels::Gelu activation = kernels::Gelu::kExact;
  bool causal = false;
};

/// What the parts of a layer are called in a checkpoint; an empty name: there is no such part.
struct EncoderNames {
  std::string layers;  ///< what the layers' numbers follow: "vision_model.encoder.layers."
  std::string q, k, v, out, fc1, fc2, norm1, norm2;
  std::string scale1, scale2;  ///< factors (C) of what a block adds (DINOv2)
};

EncoderNames clip_encoder_names(const std::string& tower);  ///< "text_model" or "vision_model"
EncoderNames vit_encoder_names(const std::string& prefix);
EncoderNames dinov2_encoder_names(const std::string& prefix);

/// Weight and bias of a LayerNorm, fp32 (C) each.
struct NormWeights {
  NormWeights() = default;
  NormWeights(const LayerReader& read, const std::string& part, int64_t width);
  at::Tensor forward(const at::Tensor& x, double epsilon) const;
  void add_places(Places& places, const std::string& name);

  at::Tensor weight, bias;
};

/// x + attention(norm(x)), then x + feed-forward(norm(x)); every sequence by itself.
class EncoderLayer {
 public:
  EncoderLayer(const EncoderShape& shape, const EncoderNames& names, int64_t index, const WeightSource& weights, const BaseStorage& storage);

  /// (N, C) -> (N, C), sequences of `lengths` end to end.
  at::Tensor forward(const at::Tensor& x, std::span<const int32_t> lengths, const ForwardContext& context) const;
  void add_places(Places& places);

 private:
  at::Tensor attend(const at::Tensor& normed, std::span<const int32_t> lengths, const ForwardContext& context) const;

  EncoderShape shape_;
  EncoderNames names_;
  std::string prefix_;
  LinearSlot q_, k_, v_, out_, fc1_, fc2_;
  ActivationSlot after_attention_, after_mlp_;
  NormWeights norm1_, norm2_;
  at::Tensor scale1_, scale2_;
};

/// All layers of an encoder.
class Encoder {
 public:
  Encoder() = default;
  Encoder(const EncoderShape& shape, const EncoderNames& names, const WeightSource& weights, const BaseStorage& storage);
  at::Tensor forward(at::Tensor x, std::span<const int32_t> lengths, const ForwardContext& context) const;
  void add_places(Places& places);

 private:
  std::vector<std::unique_ptr<EncoderLayer>> layers_;
};

}  // namespace graft::peft
