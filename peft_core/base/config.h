#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "peft_core/base/config_node.h"
#include "peft_core/base/config_visitors.h"

namespace graft {

/// A struct of settings is plain data plus one function that names its members:
///     template <class V> void visit(V& v) { v("rank", rank, "inner size of the update"); }
/// Members: bool, int64_t, double, std::string; vectors of the last three (one value is a list of one); maps from std::string to
/// int64_t or double; optionals of all these (null: none); further such structs, which become sections; and enums with a function
/// beside them that names their values:
///     inline EnumNames<Schedule> config_names(Schedule) { return {{"linear", Schedule::kLinear}, {"cosine", Schedule::kCosine}}; }
template <class E>
using EnumNames = std::vector<std::pair<std::string, E>>;

/// Fills a struct from `section` of the tree ("" is the whole tree); what is not written keeps its default.
/// Throws InvalidArgument for an unknown key or section (with place, nearest and all known ones) and for a value of the wrong type.
template <class T>
T read_config(const ConfigNode& root, std::string_view section = "");

/// The resolved configuration as YAML, in declared order, with the docs as comments. Reading it back gives the same struct.
template <class T>
std::string write_config(const T& config, std::string_view section = "");

/// One line a key, `section.key (default) doc`, for --help.
template <class T>
std::string config_help(std::string_view section = "");
/// The same with other defaults than T's own.
template <class T>
std::string config_help(const T& defaults, std::string_view section);

/// Throws InvalidArgument, with its place and the nearest known one, for a section at the root that is not among `known`.
void expect_sections(const ConfigNode& root, const std::vector<std::string>& known);

/// Throws InvalidArgument, naming the key, if the value lies outside low..high (inclusive).
void expect_range(std::string_view key, double value, double low, double high);

template <class T>
T read_config(const ConfigNode& root, std::string_view section) {
  T config{};
  if (const auto* node = root.find(section)) detail::Reader::read(*node, std::string(section), config);
  return config;
}

template <class T>
std::string write_config(const T& config, std::string_view section) {
  T copy = config;  // visit() is not const
  return detail::to_yaml(detail::nested(detail::Writer::write(copy), section));
}

template <class T>
std::string config_help(std::string_view section) {
  return config_help(T{}, section);
}

template <class T>
std::string config_help(const T& defaults, std::string_view section) {
  T copy = defaults;  // visit() is not const
  return detail::to_help(detail::Writer::write(copy), section);
}

}  // namespace graft
