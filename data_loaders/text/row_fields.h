#pragma once

// Internal: typed access to the fields of one row; remembers what was used, so that the rest can go to `meta`.

#include <map>
#include <optional>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

namespace graft::data {

/// Why one row cannot be used; never leaves row_parser.cpp.
struct RowProblem {
  std::string reason;
};

class RowFields {
 public:
  explicit RowFields(const nlohmann::json& row);

  /// Cleaned text of a string, number or boolean; nothing if the field is absent, null or of an unnamed key. Throws
  /// RowProblem.
  std::optional<std::string> text(const std::string& key);
  std::string text_or_empty(const std::string& key) { return text(key).value_or(""); }
  /// Throws RowProblem if absent.
  std::string required_text(const std::string& key);
  /// An array or object; a string that holds one (a CSV cell) is parsed. Nothing if absent, null or blank.
  std::optional<nlohmann::json> structure(const std::string& key);
  bool has(const std::string& key) const;
  /// The value as it stands; `has(key)` must be true.
  const nlohmann::json& raw(const std::string& key);

  /// The fields that nobody asked for; those of a field "meta" that is an object are lifted.
  std::map<std::string, std::string> rest() const;

 private:
  const nlohmann::json& row_;
  std::set<std::string> used_;
};

/// Cleaned text of one JSON value; `name` is for the reason. Throws RowProblem.
std::string text_of(const nlohmann::json& value, const std::string& name);

}  // namespace graft::data
