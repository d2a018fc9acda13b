#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace graft {

/// A tree of configuration values as written by a person: YAML, and JSON, which is part of it. Each value knows where it stood.
struct ConfigNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  std::string scalar;       ///< as written, without quotes
  bool quoted = false;      ///< a quoted scalar is text, never a number
  std::vector<ConfigNode> items;
  std::vector<std::pair<std::string, ConfigNode>> entries;  ///< in the order of the file
  std::string origin;       ///< "run.yaml:12" or "--set train.max_steps=5"
  std::string doc;          ///< only in trees that come from a struct

  /// Throws IoError if the file cannot be read; InvalidArgument, with file and line, if it is not YAML or repeats a key.
  static ConfigNode load(const std::filesystem::path& file);
  static ConfigNode parse(std::string_view text, const std::string& source);

  /// One `section.key=value` from the command line; the value is read as YAML and replaces what was there.
  void set(const std::string& assignment);
  /// The same from code, for options with a spelling of their own: set("method.name", "lora", "--method").
  void set(std::string_view dotted_key, std::string_view yaml_value, const std::string& set_by);

  /// The value behind `section.key`; "" is the tree itself; null if it is not there.
  const ConfigNode* find(std::string_view dotted_key) const;
  /// The value of a key of this very map; the key may hold dots.
  const ConfigNode* find_entry(std::string_view key) const;
};

}  // namespace graft
