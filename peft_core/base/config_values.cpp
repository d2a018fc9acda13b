// Between scalars of a configuration and C++ values.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "kernels/base/error.h"
#include "peft_core/base/config.h"
#include "peft_core/base/text_distance.h"

namespace graft {
namespace detail {
namespace {

using Kind = ConfigNode::Kind;

std::string where(const ConfigNode& node, const std::string& key) {
  return node.origin.starts_with("--set " + key) || node.origin.empty() ? key : node.origin + ": " + key;
}

std::string shown(const ConfigNode& node) {
  switch (node.kind) {
    case Kind::kNull: return "nothing";
    case Kind::kList: return "a list";
    case Kind::kMap: return "a section";
    case Kind::kScalar: break;
  }
  return "\"" + (node.scalar.size() > 60 ? node.scalar.substr(0, 57) + "..." : node.scalar) + "\"";
}

[[noreturn]] void wrong_type(const ConfigNode& node, const std::string& key, const std::string& expected) {
  throw InvalidArgument({.where = where(node, key), .what = "has a value of the wrong kind", .expected = expected, .got = shown(node)});
}

template <class Number>
bool parse_number(std::string_view text, Number& value) {
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

template <class T>
void convert_list(const ConfigNode& node, const std::string& key, std::vector<T>& value, const std::string& expected) {
  value.clear();
  if (node.kind == Kind::kNull) return;
  if (node.kind == Kind::kMap) wrong_type(node, key, expected);
  if (node.kind == Kind::kScalar) return convert(node, key, value.emplace_back());
  for (const auto& item : node.items) convert(item, key, value.emplace_back());
}

template <class T>
void convert_map(const ConfigNode& node, const std::string& key, std::map<std::string, T>& value) {
  value.clear();
  if (node.kind == Kind::kNull) return;
  if (node.kind != Kind::kMap) wrong_type(node, key, "name: number pairs");
  for (const auto& [name, entry] : node.entries) convert(entry, dotted(key, name), value[name]);
}

ConfigNode scalar(std::string text, bool quoted = false) {
  return {.kind = Kind::kScalar, .scalar = std::move(text), .quoted = quoted};
}

template <class T>
ConfigNode list_node(const std::vector<T>& values) {
  ConfigNode node{.kind = Kind::kList};
  for (const auto& value : values) node.items.push_back(to_node(value));
  return node;
}

template <class T>
ConfigNode map_node(const std::map<std::string, T>& values) {
  ConfigNode node{.kind = Kind::kMap};
  for (const auto& [name, value] : values) node.entries.emplace_back(name, to_node(value));
  return node;
}

}  // namespace

void convert(const ConfigNode& node, const std::string& key, bool& value) {
  auto word = node.scalar;
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  value = word == "true" || word == "yes" || word == "on";
  const bool known = value || word == "false" || word == "no" || word == "off";
  if (node.kind != Kind::kScalar || node.quoted || !known) wrong_type(node, key, "true or false");
}

void convert(const ConfigNode& node, const std::string& key, int64_t& value) {
  if (node.kind != Kind::kScalar || node.quoted || !parse_number(node.scalar, value)) wrong_type(node, key, "a whole number");
}

void convert(const ConfigNode& node, const std::string& key, double& value) {
  if (node.kind != Kind::kScalar || node.quoted || !parse_number(node.scalar, value) || !std::isfinite(value)) {
    wrong_type(node, key, "a number");
  }
}

void convert(const ConfigNode& node, const std::string& key, std::string& value) {
  if (node.kind == Kind::kList || node.kind == Kind::kMap) wrong_type(node, key, "text");
  value = node.scalar;
}

void convert(const ConfigNode& node, const std::string& key, std::vector<std::string>& value) {
  convert_list(node, key, value, "a list of names");
}
void convert(const ConfigNode& node, const std::string& key, std::vector<int64_t>& value) {
  convert_list(node, key, value, "a list of whole numbers");
}
void convert(const ConfigNode& node, const std::string& key, std::vector<double>& value) {
  convert_list(node, key, value, "a list of numbers");
}
void convert(const ConfigNode& node, const std::string& key, std::map<std::string, int64_t>& value) { convert_map(node, key, value); }
void convert(const ConfigNode& node, const std::string& key, std::map<std::string, double>& value) { convert_map(node, key, value); }

ConfigNode to_node(bool value) { return scalar(value ? "true" : "false"); }
ConfigNode to_node(int64_t value) { return scalar(std::to_string(value)); }
ConfigNode to_node(double value) {
  auto text = fmt::format("{}", value);  // the shortest digits that read back to the same number
  const auto exponent = text.find('e');  // YAML 1.1, which Python's yaml reads, wants a point in a number with an exponent
  if (exponent != std::string::npos && text.find('.') == std::string::npos) text.insert(exponent, ".0");
  return scalar(std::move(text));
}
ConfigNode to_node(const std::string& value) { return scalar(value, /*quoted=*/true); }
ConfigNode to_node(const std::vector<std::string>& value) { return list_node(value); }
ConfigNode to_node(const std::vector<int64_t>& value) { return list_node(value); }
ConfigNode to_node(const std::vector<double>& value) { return list_node(value); }
ConfigNode to_node(const std::map<std::string, int64_t>& value) { return map_node(value); }
ConfigNode to_node(const std::map<std::string, double>& value) { return map_node(value); }

void expect_map(const ConfigNode& node, const std::string& key) {
  if (node.kind != Kind::kMap && node.kind != Kind::kNull) wrong_type(node, key, "a section with keys");
}

size_t index_of_name(const ConfigNode& node, const std::string& key, const std::vector<std::string>& names) {
  const auto found = std::find(names.begin(), names.end(), node.scalar);
  if (node.kind == Kind::kScalar && found != names.end()) return static_cast<size_t>(found - names.begin());
  throw InvalidArgument({.where = where(node, key), .what = "is " + shown(node), .hint = suggest(node.scalar, names)});
}

void reject_unknown_keys(const ConfigNode& node, const std::string& section, const std::vector<std::string>& known) {
  for (const auto& [name, value] : node.entries) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const auto kind = section.empty() ? "section" : "key";
    throw InvalidArgument({.where = value.origin, .what = std::string("unknown ") + kind + " \"" + dotted(section, name) + "\"",
                           .hint = suggest(name, known)});
  }
}

std::string dotted(std::string_view section, std::string_view key) {
  return section.empty() ? std::string(key) : std::string(section) + "." + std::string(key);
}

}  // namespace detail

void expect_sections(const ConfigNode& root, const std::vector<std::string>& known) {
  for (const auto& [name, node] : root.entries)
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw InvalidArgument({.where = node.origin, .what = "there is no section '" + name + "'", .hint = suggest(name, known)});
}

void expect_range(std::string_view key, double value, double low, double high) {
  if (value >= low && value <= high) return;
  const auto text = [](double number) { return detail::to_node(number).scalar; };
  throw InvalidArgument({.where = std::string(key), .what = "is out of range", .expected = text(low) + " to " + text(high), .got = text(value)});
}

}  // namespace graft
