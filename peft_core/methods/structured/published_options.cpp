#include "peft_core/methods/structured/published_options.h"

#include "kernels/base/error.h"
#include "peft_core/methods/layer_choice.h"

namespace graft::peft {

std::optional<nlohmann::json> published_section(const nlohmann::json& published, const std::string& peft_type, const std::string& name) {
  if (published.value("peft_type", "") != peft_type) return std::nullopt;
  nlohmann::json section = {{"name", name}};
  read_published_targets(published, section);
  return section;
}

void read_published(const nlohmann::json& published, const char* theirs, nlohmann::json& section, const char* ours, nlohmann::json otherwise) {
  const auto found = published.find(theirs);
  section[ours] = found == published.end() || found->is_null() ? std::move(otherwise) : *found;
}

void read_published_patterns(const nlohmann::json& published, nlohmann::json& section) {
  for (const auto* key : {"rank_pattern", "alpha_pattern"})
    if (const auto found = published.find(key); found != published.end() && found->is_object()) section[key] = *found;
}

std::string published_start(const nlohmann::json& published) {
  const auto found = published.find("init_weights");
  return found != published.end() && found->is_string() ? found->get<std::string>() : "true";
}

nlohmann::json start_to_publish(const std::string& start) { return start == "true" ? nlohmann::json(true) : nlohmann::json(start); }

void refuse_published(const nlohmann::json& published, const char* key) {
  const auto found = published.find(key);
  if (found == published.end() || found->is_null() || (found->is_boolean() && !found->get<bool>())) return;
  throw InvalidArgument({.where = "adapter_config.json", .what = std::string("uses ") + key + ", which is not supported here",
                         .expected = std::string(key) + ": false"});
}

}  // namespace graft::peft
