#include "peft_core/methods/published_form.h"

#include "kernels/base/error.h"

namespace graft::peft {

bool is_set(const nlohmann::json& published, const std::string& key) {
  const auto found = published.find(key);
  return found != published.end() && !found->is_null() && !(found->is_boolean() && !found->get<bool>()) && !found->empty();
}

void refuse_set(const nlohmann::json& published, const std::vector<std::string>& keys) {
  for (const auto& key : keys)
    if (is_set(published, key))
      throw InvalidArgument({.where = "adapter_config.json", .what = "uses " + key + ", which is not supported here",
                             .expected = key + " at its default", .got = published.at(key).dump()});
}

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

}  // namespace graft::peft
