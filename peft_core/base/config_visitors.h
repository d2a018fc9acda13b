#pragma once

// How the members of a settings struct are read and written; users need config.h only.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "peft_core/base/config_node.h"

namespace graft {

/// A struct with `template <class V> void visit(V& v)`.
template <class T>
concept ConfigStruct = std::is_class_v<T> && requires(T t, int& any) { t.visit(any); };

/// The name that config_names() has for a value.
template <class E>
std::string enum_name(E value) {
  for (const auto& [name, known] : config_names(value))
    if (known == value) return name;
  return {};
}

namespace detail {

void convert(const ConfigNode& node, const std::string& key, bool& value);
void convert(const ConfigNode& node, const std::string& key, int64_t& value);
void convert(const ConfigNode& node, const std::string& key, double& value);
void convert(const ConfigNode& node, const std::string& key, std::string& value);
void convert(const ConfigNode& node, const std::string& key, std::vector<std::string>& value);
void convert(const ConfigNode& node, const std::string& key, std::vector<int64_t>& value);
void convert(const ConfigNode& node, const std::string& key, std::vector<double>& value);
void convert(const ConfigNode& node, const std::string& key, std::map<std::string, int64_t>& value);
void convert(const ConfigNode& node, const std::string& key, std::map<std::string, double>& value);

ConfigNode to_node(bool value);
ConfigNode to_node(int64_t value);
ConfigNode to_node(double value);
ConfigNode to_node(const std::string& value);
ConfigNode to_node(const std::vector<std::string>& value);
ConfigNode to_node(const std::vector<int64_t>& value);
ConfigNode to_node(const std::vector<double>& value);
ConfigNode to_node(const std::map<std::string, int64_t>& value);
ConfigNode to_node(const std::map<std::string, double>& value);

void expect_map(const ConfigNode& node, const std::string& key);
size_t index_of_name(const ConfigNode& node, const std::string& key, const std::vector<std::string>& names);
void reject_unknown_keys(const ConfigNode& node, const std::string& section, const std::vector<std::string>& known);
ConfigNode nested(ConfigNode node, std::string_view section);
std::string to_yaml(const ConfigNode& node);
std::string to_help(const ConfigNode& node, std::string_view section);
std::string dotted(std::string_view section, std::string_view key);

template <class E>
std::vector<std::string> names_of() {
  std::vector<std::string> names;
  for (const auto& [name, value] : config_names(E{})) names.push_back(name);
  return names;
}

/// Reads one section; the visitor that `visit` gets.
class Reader {
 public:
  Reader(const ConfigNode& node, std::string section) : node_(node), section_(std::move(section)) {}

  template <class T>
  void operator()(const char* name, T& value, const char* /*doc*/) {
    known_.push_back(name);
    if (const auto* found = node_.find_entry(name)) read(*found, dotted(section_, name), value);
  }
  void finish() const { reject_unknown_keys(node_, section_, known_); }

  template <class T>
  static void read(const ConfigNode& node, const std::string& key, T& value) {
    if constexpr (ConfigStruct<T>) {
      expect_map(node, key);
      Reader reader(node, key);
      value.visit(reader);
      reader.finish();
    } else if constexpr (std::is_enum_v<T>) {
      value = config_names(T{})[index_of_name(node, key, names_of<T>())].second;
    } else {
      convert(node, key, value);
    }
  }
  template <class T>
  static void read(const ConfigNode& node, const std::string& key, std::optional<T>& value) {
    value.reset();
    if (node.kind != ConfigNode::Kind::kNull) read(node, key, value.emplace());
  }

 private:
  const ConfigNode& node_;
  std::string section_;
  std::vector<std::string> known_;
};

/// Turns a struct back into a tree.
class Writer {
 public:
  template <class T>
  void operator()(const char* name, T& value, const char* doc) {
    node_.entries.emplace_back(name, write(value));
    node_.entries.back().second.doc = doc;
  }

  template <class T>
  static ConfigNode write(T& value) {
    if constexpr (ConfigStruct<T>) {
      Writer writer;
      writer.node_.kind = ConfigNode::Kind::kMap;
      value.visit(writer);
      return writer.node_;
    } else if constexpr (std::is_enum_v<T>) {
      return to_node(enum_name(value));
    } else {
      return to_node(value);
    }
  }
  template <class T>
  static ConfigNode write(std::optional<T>& value) {
    return value ? write(*value) : ConfigNode{};
  }

 private:
  ConfigNode node_;
};

}  // namespace detail

}  // namespace graft
