#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "bench/machine/random_weights.h"

namespace graft::bench {

/// Angles of the rotary embedding for positions 0 to length - 1.
struct RotaryTable {
  at::Tensor cosine, sine;            ///< (T, D / 2) fp32, for our operator
  at::Tensor wide_cosine, wide_sine;  ///< (T, 1, D) in the model's dtype, as models on LibTorch keep them
  RotaryTable(int64_t length, int64_t width, double theta, at::ScalarType dtype);
  /// For several sequences end to end.
  void repeat(int64_t sequences);
};

/// x (N, H, D).
at::Tensor rotated_with_libtorch(const at::Tensor& x, const RotaryTable& table);

/// The same decoder and LoRA step on LibTorch's operators alone, as a careful user would write it: attention by
/// scaled_dot_product_attention, the fused norm, adapters computed in the model's dtype, the head in chunks, fused AdamW.
class LibtorchTrainer {
 public:
  /// `factors`: "<layer>.lora_A.weight" and "<layer>.lora_B.weight" -> leaves, which it copies. `scale` of the update.
  LibtorchTrainer(const peft::DecoderConfig& config, const RandomWeights& weights, const std::map<std::string, at::Tensor>& factors,
                  double scale);
  /// One optimizer step over `sequences` rows of equal length, ids and targets (N). Returns the mean loss.
  double step(const at::Tensor& ids, const at::Tensor& targets, int64_t sequences, double learning_rate);

 private:
  at::Tensor linear(const std::string& name, const at::Tensor& x) const;
  at::Tensor attention(const std::string& layer, const at::Tensor& x, const RotaryTable& table, int64_t sequences) const;
  at::Tensor normed(const std::string& name, const at::Tensor& x) const;
  at::Tensor hidden_states(const at::Tensor& ids, int64_t sequences) const;
  void update(double learning_rate);

  const peft::DecoderConfig& config_;
  const RandomWeights& weights_;
  double scale_;
  std::map<std::string, size_t> places_;  // of a factor among the leaves
  std::vector<at::Tensor> leaves_, first_, second_, steps_;
  int64_t chunk_ = 0;
};

}  // namespace graft::bench
