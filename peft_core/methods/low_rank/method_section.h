#pragma once

#include <nlohmann/json.hpp>

#include "peft_core/base/config.h"

namespace graft::peft {

/// A settings struct as a JSON object, for files: the visitor that `visit` gets. ConfigNode::parse() reads it back.
class JsonSection {
 public:
  template <class Config>
  static nlohmann::json of(Config config) {
    JsonSection section;
    config.visit(section);
    return std::move(section.json_);
  }

  template <class T>
  void operator()(const char* name, T& value, const char* /*doc*/) {
    if constexpr (std::is_enum_v<T>) {
      json_[name] = enum_name(value);
    } else if constexpr (requires { value.has_value(); }) {
      json_[name] = value ? nlohmann::json(*value) : nlohmann::json();
    } else {
      json_[name] = value;
    }
  }

 private:
  nlohmann::json json_ = nlohmann::json::object();
};

}  // namespace graft::peft
