#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "peft_core/backbones/decoder_config.h"
#include "peft_core/backbones/weight_source.h"
#include "peft_core/slots/targets.h"

namespace graft::peft {

/// cos and sin of every token's angles, (N, D / 2) fp32.
struct RotaryAngles {
  at::Tensor cosine, sine;
};

/// Keys and values of one sequence so far, one pair a layer, each (capacity, Hk, D), and what adapters after its blocks carry along it.
struct SequenceCache {
  struct Layer {
    at::Tensor keys, values;
    at::Tensor after_attention, after_mlp;  // see ActivationCall::states
  };
  std::vector<Layer> layers;
  int64_t length = 0;    ///< tokens that all layers hold

  static SequenceCache with_capacity(const DecoderConfig& config, int64_t capacity, const at::TensorOptions& options);
};

/// The hidden states between two layers, (N, C) each. What the last layer adds to them waits in `pending` (may be undefined), as the
/// addition is one pass with the norm that comes next.
struct ResidualStream {
  at::Tensor x, pending;

  at::Tensor whole() const;
};

/// x + attention(norm(x)), then x + feed-forward(norm(x)).
class DecoderLayer {
 public:
  DecoderLayer(const DecoderConfig& config, int64_t index, const WeightSource& weights, const BaseStorage& storage);

  /// Every sequence by itself.
  ResidualStream forward(const ResidualStream& stream, const RotaryAngles& angles, std::span<const int32_t> lengths,
                         const ForwardContext& context) const;
  /// The same for new tokens of sequences whose earlier ones lie in caches; appends to them.
  ResidualStream extend(const ResidualStream& stream, const RotaryAngles& angles, std::span<const int32_t> lengths,
                        std::span<SequenceCache* const> caches, const ForwardContext& context) const;

  void add_places(Places& places);

 private:
  struct Projected {
    at::Tensor x;        // the stream with what was pending, (N, C)
    at::Tensor normed;   // what the projections read, (N, C)
    at::Tensor q, k, v;  // (N, H, D)
  };
  Projected project(const ResidualStream& stream, const RotaryAngles& angles, const ForwardContext& context) const;
  at::Tensor attend(const Projected& projected, std::span<const int32_t> lengths) const;
  ResidualStream finish(const Projected& projected, const at::Tensor& attended, std::span<const int32_t> lengths,
                        const ForwardContext& context, std::span<SequenceCache* const> caches = {}) const;

  DecoderConfig config_;
  int64_t index_;
  std::string prefix_;
  LinearSlot q_, k_, v_, o_, gate_, up_, down_;
  ActivationSlot after_attention_, after_mlp_;
  PrefixSlot prefix_slot_;
  at::Tensor input_norm_, post_norm_, q_norm_, k_norm_;  // fp32
};

}  // namespace graft::peft
