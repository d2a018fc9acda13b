#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "peft_core/methods/layer_adapters.h"

// Writing and reading of adapter_config.json, for methods that each have a peft_type of their own.
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

/// True for a key that is there and neither null, false nor empty.
bool is_set(const nlohmann::json& published, const std::string& key);

/// Throws InvalidArgument for a key of adapter_config.json that is set and whose meaning we lack.
void refuse_set(const nlohmann::json& published, const std::vector<std::string>& keys);

/// The value of a key, or `otherwise` where it is missing or null.
template <class T>
T published_value(const nlohmann::json& published, const std::string& key, T otherwise) {
  const auto found = published.find(key);
  return found == published.end() || found->is_null() ? otherwise : found->get<T>();
}

/// A `method` section with the name and the targets; none if the file is of another type.
std::optional<nlohmann::json> published_section(const nlohmann::json& published, const std::string& peft_type, const std::string& name);

/// section[ours] = published[theirs], or `otherwise` (PEFT's default) where the file lacks the key.
void read_published(const nlohmann::json& published, const char* theirs, nlohmann::json& section, const char* ours, nlohmann::json otherwise);

/// rank_pattern and alpha_pattern, where the file has them.
void read_published_patterns(const nlohmann::json& published, nlohmann::json& section);

/// `init_weights` of a file, true, false or a word, as one of our words: false, PEFT's random start, does not matter once the values are read.
std::string published_start(const nlohmann::json& published);
/// The same back: "true" becomes a boolean.
nlohmann::json start_to_publish(const std::string& start);

}  // namespace graft::peft
