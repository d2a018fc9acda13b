#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "peft_core/slots/targets.h"

namespace graft::peft {

/// Which linear layers a method changes: options that all methods of that kind share.
struct LayerChoice {
  std::vector<std::string> targets = {"all-linear"};
  std::vector<std::string> exclude;
  std::vector<int64_t> layers;

  template <class Visitor>
  void visit(Visitor& v) {
    v("targets", targets, "layers: all-linear, name endings, or regular expressions over the full name");
    v("exclude", exclude, "layers to leave out again, written as targets are");
    v("layers", layers, "numbers of the decoder layers to adapt; empty: all");
  }
};

/// The chosen slots in the model's order. Throws InvalidArgument if a pattern matches nothing, or if none is left.
std::vector<LinearSlot*> chosen_slots(const Places& places, const LayerChoice& choice);

/// Throws InvalidArgument, naming the layer, for a rank outside 1..`limit`; `meaning` says what the limit is: "min(in, out)".
void expect_rank(int64_t rank, const LinearSlot& slot, int64_t limit, const std::string& meaning);
/// The same for a factorisation of the whole layer: 1..min(in, out).
void expect_rank(int64_t rank, const LinearSlot& slot);

/// `target_modules` as PEFT reads it: the endings of the slots' names, free of our own pattern forms; the full names where an ending would
/// take in layers that were not chosen.
nlohmann::json published_targets(const LayerChoice& choice, const std::vector<LinearSlot*>& slots);

/// Puts target_modules, exclude_modules and layers_to_transform of an adapter_config.json into a `method` section.
/// Throws InvalidArgument for fan_in_fan_out: weights that lie the other way round, which no model here has.
void read_published_targets(const nlohmann::json& published, nlohmann::json& method);

/// Options of single layers: "expression over the name's end -> value", as PEFT's rank_pattern. Remembers which expressions were used.
template <class T>
class Patterns {
 public:
  Patterns(const std::map<std::string, T>& patterns, std::string key) : patterns_(patterns), key_(std::move(key)) {}

  /// The value of the first expression that fits the layer's name, else `otherwise`.
  T value_for(const std::string& name, T otherwise) {
    for (const auto& [pattern, value] : patterns_)
      if (pattern_matches_end(pattern, name)) {
        used_.insert(pattern);
        return value;
      }
    return otherwise;
  }

  /// Throws InvalidArgument for an expression that no layer asked for.
  void expect_all_used() const {
    for (const auto& [pattern, value] : patterns_)
      if (!used_.contains(pattern))
        throw InvalidArgument({.where = key_, .what = "'" + pattern + "' matches no adapted layer",
                               .hint = "give the end of a layer's name, such as layers.0.self_attn.q_proj or q_proj"});
  }

 private:
  const std::map<std::string, T>& patterns_;
  std::string key_;
  std::set<std::string> used_;
};

}  // namespace graft::peft
