// A configuration as text: YAML to keep, and lines for --help.
#include <algorithm>
#include <cctype>

#include "peft_core/base/config.h"

namespace graft::detail {
namespace {

using Kind = ConfigNode::Kind;

constexpr size_t kCommentColumn = 36;

bool reads_as_text(const std::string& text) {
  static const std::vector<std::string> kWords = {"null", "Null", "NULL", "true", "false", "yes", "no", "on", "off"};
  const auto plain = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-' || c == '.' || c == '/'; };
  return !text.empty() && std::isalpha(static_cast<unsigned char>(text.front())) && std::all_of(text.begin(), text.end(), plain) &&
         std::find(kWords.begin(), kWords.end(), text) == kWords.end();
}

std::string quoted(const std::string& text) {
  static const char* kDigits = "0123456789abcdef";
  std::string out = "\"";
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') out += '\\', out += static_cast<char>(c);
    else if (c == '\n') out += "\\n";
    else if (c == '\t') out += "\\t";
    else if (c < 0x20 || c == 0x7f) out += "\\x", out += kDigits[c >> 4], out += kDigits[c & 15];
    else out += static_cast<char>(c);
  }
  return out + "\"";
}

std::string as_text(const std::string& text) { return reads_as_text(text) ? text : quoted(text); }

/// A value on one line.
std::string flow(const ConfigNode& node) {
  std::string text;
  switch (node.kind) {
    case Kind::kNull: return "null";
    case Kind::kScalar: return node.quoted ? as_text(node.scalar) : node.scalar;
    case Kind::kList:
      for (const auto& item : node.items) text += (text.empty() ? "" : ", ") + flow(item);
      return "[" + text + "]";
    case Kind::kMap:
      for (const auto& [name, value] : node.entries) text += (text.empty() ? "" : ", ") + as_text(name) + ": " + flow(value);
      return "{" + text + "}";
  }
  return text;
}

// A section is a map whose entries came from a struct or hold such; a map of names to numbers stays on one line.
bool is_section(const ConfigNode& node) {
  return node.kind == Kind::kMap && std::any_of(node.entries.begin(), node.entries.end(), [](const auto& entry) {
           return !entry.second.doc.empty() || is_section(entry.second);
         });
}

void append_comment(std::string& line, const std::string& doc) {
  if (doc.empty()) return;
  line.append(line.size() < kCommentColumn ? kCommentColumn - line.size() : 1, ' ');
  line += "# " + doc;
}

void append_yaml(std::string& out, const ConfigNode& node, size_t indent) {
  for (const auto& [name, value] : node.entries) {
    std::string line(indent, ' ');
    line += as_text(name) + ":";
    if (!is_section(value)) line += " " + flow(value);
    append_comment(line, value.doc);
    out += line + "\n";
    if (is_section(value)) append_yaml(out, value, indent + 2);
  }
}

void append_help(std::string& out, const ConfigNode& node, const std::string& section) {
  for (const auto& [name, value] : node.entries) {
    const auto key = dotted(section, name);
    if (is_section(value)) {
      append_help(out, value, key);
      continue;
    }
    std::string line = "  " + key + "=" + flow(value);
    line.append(line.size() < kCommentColumn ? kCommentColumn - line.size() : 2, ' ');
    out += line + value.doc + "\n";
  }
}

}  // namespace

ConfigNode nested(ConfigNode node, std::string_view section) {
  while (!section.empty()) {
    const auto dot = section.rfind('.');
    ConfigNode outer{.kind = Kind::kMap};
    outer.entries.emplace_back(std::string(dot == std::string_view::npos ? section : section.substr(dot + 1)), std::move(node));
    node = std::move(outer);
    section = dot == std::string_view::npos ? std::string_view() : section.substr(0, dot);
  }
  return node;
}

std::string to_yaml(const ConfigNode& node) {
  std::string text;
  append_yaml(text, node, 0);
  return text;
}

std::string to_help(const ConfigNode& node, std::string_view section) {
  std::string text;
  append_help(text, node, std::string(section));
  return text;
}

}  // namespace graft::detail
