#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "peft_core/methods/layer_choice.h"
#include "peft_core/methods/method.h"

// What LoRA and its variants share: options, ranks and scales of single layers, files.
namespace graft::peft {

struct LoraConfig {
  std::string name = "lora";
  int64_t rank = 16;
  double alpha = 32.0;
  double dropout = 0.0;
  LayerChoice choice;
  bool use_rslora = false;
  std::map<std::string, int64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "inner size r of the update; 1 <= r <= min(in, out) of every layer");
    v("alpha", alpha, "the update is scaled by alpha / r (alpha / sqrt(r) with use_rslora)");
    v("dropout", dropout, "probability of dropping an input of the update while training, in [0, 1)");
    choice.visit(v);
    v("use_rslora", use_rslora, "rank-stabilised scaling");
    v("rank_pattern", rank_pattern, "rank of single layers: expression over the name's end -> rank");
    v("alpha_pattern", alpha_pattern, "alpha of single layers: expression over the name's end -> alpha");
  }
};

/// What a layer's update is made from.
struct LoraLayer {
  const FrozenLinear& base;
  int64_t rank;
  double scale;    ///< lora_scale()
  double dropout;
  at::Generator& random;
};
using MakeLora = std::function<std::shared_ptr<Adapter>(const LoraLayer& layer)>;

/// A (r, in) uniform in ±1/√in (Kaiming with a = √5, as PEFT does), B (out, r) zero; fp32 leaves.
struct LoraFactors {
  explicit LoraFactors(const LoraLayer& layer);
  at::Tensor a, b;
};

/// Throws InvalidArgument if a rank is below 1 or above min(in, out), or if a pattern or target matches nothing.
std::unique_ptr<Attachment> attach_lora_family(Places& places, const LoraConfig& config, uint64_t seed, const MakeLora& make, bool dora = false);

/// The section of method `name` ("lora" or "dora") for a published config; none if that belongs to another method.
/// Throws InvalidArgument for a variant that is not supported.
std::optional<ConfigNode> lora_from_published(const nlohmann::json& published, const std::string& name);
PublishedForm lora_published_form();

/// What the update of one layer is multiplied with: its own alpha, where alpha_pattern names it, over its rank or the root of it.
double lora_scale(const LoraConfig& config, const std::string& layer, int64_t rank);

}  // namespace graft::peft
