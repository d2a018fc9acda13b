#include "peft_core/methods/published_form.h"

#include "kernels/base/error.h"

namespace graft::peft {

void refuse_set(const nlohmann::json& published, const std::vector<std::string>& keys) {
  for (const auto& key : keys) {
    const auto found = published.find(key);
    if (found == published.end() || found->is_null() || (found->is_boolean() && !found->get<bool>()) || found->empty()) continue;
    throw InvalidArgument({.where = "adapter_config.json", .what = "uses " + key + ", which is not supported here",
                           .expected = key + " at its default", .got = found->dump()});
  }
}

}  // namespace graft::peft
