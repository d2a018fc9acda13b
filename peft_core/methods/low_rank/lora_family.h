#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

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
  const std::string& name;  ///< of the layer
};
using MakeLora = std::function<std::shared_ptr<Adapter>(const LoraLayer& layer)>;

/// A (r, in) uniform in ±1/√in (Kaiming with a = √5, as PEFT does), B (out, r) zero; fp32 leaves.
struct LoraFactors {
  explicit LoraFactors(const LoraLayer& layer);
  /// A start of a method's own; the tensors become leaves.
  LoraFactors(const at::Tensor& start_a, const at::Tensor& start_b);
  at::Tensor a, b;
};

/// What tells one of LoRA's variants from the others.
struct LoraVariant {
  MakeLora make;
  /// Changes what adapter_config.json says of a plain LoRA.
  std::function<void(nlohmann::json& published)> describe = {};
  double b_learning_rate_factor = 1;
};

/// A layer's rank, with rank_pattern, where the options name it.
struct RankedSlot {
  LinearSlot* slot;
  int64_t rank;
  double scale;
};
/// The chosen layers in the model's order.
/// Throws InvalidArgument if a rank is below 1 or above min(in, out), or if a pattern or target matches nothing.
std::vector<RankedSlot> ranked_slots(const Places& places, const LoraConfig& config);

/// Throws InvalidArgument as ranked_slots() does.
std::unique_ptr<Attachment> attach_lora_family(Places& places, const LoraConfig& config, uint64_t seed, const LoraVariant& variant);

/// The section of method `name` for a published config; none if that belongs to another method.
/// Throws InvalidArgument for a variant that is not supported.
std::optional<ConfigNode> lora_from_published(const nlohmann::json& published, const std::string& name);
PublishedForm lora_published_form();
/// A key of our own in adapter_config.json: the resolved method section, for methods that PEFT's keys cannot tell from plain LoRA.
inline constexpr const char* kOwnSection = "graft_method";

/// What the update of one layer is multiplied with: its own alpha, where alpha_pattern names it, over its rank or the root of it.
double lora_scale(const LoraConfig& config, const std::string& layer, int64_t rank);

}  // namespace graft::peft
