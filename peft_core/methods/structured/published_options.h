#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

// Reading of adapter_config.json, for methods that each have a peft_type of their own.
namespace graft::peft {

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

/// Throws InvalidArgument where the file switches on something that would change the result and is not supported.
void refuse_published(const nlohmann::json& published, const char* key);

}  // namespace graft::peft
