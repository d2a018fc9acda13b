#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "kernels/base/error.h"

namespace graft::data {

using Json = nlohmann::json;

/// Typed reading of a foreign JSON object; a wrong type is an IoError that names file and key. Null counts as absent.
class JsonFields {
 public:
  /// Throws IoError if `value` is no object. Keeps a reference to it.
  JsonFields(const Json& value, std::string where) : value_(value), where_(std::move(where)) {
    if (!value.is_object()) fail("", "an object", value);
  }

  const Json* find(const char* key) const {
    const auto it = value_.find(key);
    return it == value_.end() || it->is_null() ? nullptr : &*it;
  }
  const Json& at(const char* key) const {
    const Json* found = find(key);
    if (found == nullptr) throw IoError({.where = where_, .what = std::string("\"") + key + "\" is missing"});
    return *found;
  }
  const Json* array(const char* key) const {
    const Json* found = find(key);
    if (found != nullptr && !found->is_array()) fail(key, "an array", *found);
    return found;
  }
  bool flag(const char* key, bool fallback) const {
    const Json* found = find(key);
    if (found == nullptr) return fallback;
    if (!found->is_boolean()) fail(key, "true or false", *found);
    return found->get<bool>();
  }
  std::string text(const char* key, const std::string& fallback) const { return find(key) == nullptr ? fallback : text(key); }
  std::string text(const char* key) const {
    const Json& found = at(key);
    if (!found.is_string()) fail(key, "a string", found);
    return found.get<std::string>();
  }
  int64_t integer(const char* key) const {
    const Json& found = at(key);
    if (!found.is_number_integer()) fail(key, "an integer", found);
    return found.get<int64_t>();
  }
  int64_t integer(const char* key, int64_t fallback) const { return find(key) == nullptr ? fallback : integer(key); }
  JsonFields object(const char* key) const { return {at(key), where_ + " " + key}; }
  const std::string& where() const { return where_; }

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& expected, const Json& got) const {
    throw IoError({.where = where_, .what = key.empty() ? "wrong type" : "\"" + key + "\" has the wrong type", .expected = expected, .got = got.type_name()});
  }

  const Json& value_;
  std::string where_;
};

}  // namespace graft::data
