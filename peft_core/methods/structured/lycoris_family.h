#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "peft_core/methods/layer_choice.h"
#include "peft_core/methods/method.h"

// What the methods of the LyCORIS collection share (loha, lokr): rank and scale of single layers, dropout of whole outputs and layers, files.
namespace graft::peft {

struct LycorisConfig {
  std::string name;
  int64_t rank = 8;
  double alpha = 8.0;
  double rank_dropout = 0.0;
  double module_dropout = 0.0;
  LayerChoice choice;
  std::map<std::string, int64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "inner size r of the factors, 1 and more");
    v("alpha", alpha, "the update is scaled by alpha / r");
    v("rank_dropout", rank_dropout, "probability of dropping an output of the update while training, in [0, 1)");
    v("module_dropout", module_dropout, "probability of dropping a layer's whole update while training, in [0, 1)");
    choice.visit(v);
    v("rank_pattern", rank_pattern, "rank of single layers: expression over the name's end -> rank");
    v("alpha_pattern", alpha_pattern, "alpha of single layers: expression over the name's end -> alpha");
  }
};

/// What falls out of an update while training. The draw follows the step's seed and the layer.
struct UpdateDropout {
  double outputs = 0;   ///< probability for each output
  double layer = 0;     ///< probability for all of them at once
  bool rescale = true;  ///< divides what stays by its share, so that the update keeps its size

  /// What each output of the update (out) is multiplied with, fp32 on `device`; undefined outside training and without dropout. A layer that falls out is
  /// multiplied with 0 and not left out, so that its parameters keep having gradients.
  at::Tensor draw(int64_t out, const SlotCall& call, at::Device device) const;
};

/// What a layer's update is made from.
struct LycorisLayer {
  const FrozenLinear& base;
  int64_t rank;
  double scale;  ///< alpha / rank, with the layer's own where a pattern names it
  at::Generator& random;
};
using MakeLycoris = std::function<std::shared_ptr<Adapter>(const LycorisLayer& layer)>;

/// `published`: the keys of adapter_config.json that only this method has, and its peft_type.
/// Throws InvalidArgument for a rank below 1, a probability outside [0, 1), or a pattern or target that matches nothing.
std::unique_ptr<Attachment> attach_lycoris(Places& places, const LycorisConfig& config, uint64_t seed, const MakeLycoris& make,
                                           nlohmann::json published);

/// The section of a published config of this type with all keys that the family shares; none if it is of another type.
std::optional<nlohmann::json> lycoris_from_published(const nlohmann::json& published, const std::string& peft_type, const std::string& name);
/// Names of the shared keys in adapter_config.json.
std::vector<std::string> lycoris_published_keys();

}  // namespace graft::peft
