#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "peft_core/methods/layer_adapters.h"

namespace graft::peft {

/// Adapters on linear layers whose adapter_config.json is known when they are attached.
class PublishedLayerAdapters : public LayerAdapters {
 public:
  /// `published`: all keys of adapter_config.json but target_modules.
  PublishedLayerAdapters(Places& places, const LayerChoice& choice, const Make& make, nlohmann::json published)
      : LayerAdapters(places, choice, make), published_(std::move(published)) {
    published_["target_modules"] = published_targets();
  }

  nlohmann::json published_config() const override { return published_; }

 private:
  nlohmann::json published_;
};

/// Throws InvalidArgument for a key of adapter_config.json that is set (not null, false or empty) and whose meaning we lack.
void refuse_set(const nlohmann::json& published, const std::vector<std::string>& keys);

/// The value of a key, or `otherwise` where it is missing or null.
template <class T>
T published_value(const nlohmann::json& published, const std::string& key, T otherwise) {
  const auto found = published.find(key);
  return found == published.end() || found->is_null() ? otherwise : found->get<T>();
}

}  // namespace graft::peft
