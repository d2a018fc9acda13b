#include "peft_core/base/config_node.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"

namespace graft {
namespace {

constexpr size_t kLargestFile = 4u << 20;
constexpr size_t kMostValues = 100'000;  // aliases may multiply: a few lines can mean billions of values

/// Turns yaml-cpp's nodes into ours.
class Converter {
 public:
  Converter(const std::string& source, bool with_lines) : source_(source), with_lines_(with_lines) {}

  ConfigNode operator()(const YAML::Node& from) {
    ConfigNode node{.origin = place(from.Mark())};
    if (++count_ > kMostValues) throw InvalidArgument({.where = source_, .what = "holds too many values for a configuration"});
    if (from.IsScalar()) {
      node.kind = ConfigNode::Kind::kScalar;
      node.scalar = from.Scalar();
      node.quoted = from.Tag() == "!";
    } else if (from.IsSequence()) {
      node.kind = ConfigNode::Kind::kList;
      for (const auto& item : from) node.items.push_back((*this)(item));
    } else if (from.IsMap()) {
      node.kind = ConfigNode::Kind::kMap;
      for (const auto& entry : from) add(node, entry.first, entry.second);
    }
    return node;
  }

  std::string place(const YAML::Mark& mark) const {
    return with_lines_ && !mark.is_null() ? source_ + ":" + std::to_string(mark.line + 1) : source_;
  }

 private:
  void add(ConfigNode& node, const YAML::Node& key, const YAML::Node& value) {
    const auto where = place(key.Mark());
    if (!key.IsScalar()) throw InvalidArgument({.where = where, .what = "a key must be one word"});
    if (node.find_entry(key.Scalar())) {
      throw InvalidArgument({.where = where, .what = "key \"" + key.Scalar() + "\" is written twice", .hint = "remove one"});
    }
    auto converted = (*this)(value);
    if (converted.kind != ConfigNode::Kind::kScalar) converted.origin = where;  // the key's line is where a person looks
    node.entries.emplace_back(key.Scalar(), std::move(converted));
  }

  std::string source_;
  bool with_lines_;
  size_t count_ = 0;
};

ConfigNode convert_text(const std::string& text, const std::string& source, bool with_lines, const std::string& hint) {
  Converter convert(source, with_lines);
  try {
    const auto documents = YAML::LoadAll(text);
    if (documents.size() > 1) throw InvalidArgument({.where = source, .what = "holds more than one YAML document"});
    return documents.empty() ? ConfigNode{.origin = source} : convert(documents.front());
  } catch (const YAML::Exception& error) {
    throw InvalidArgument({.where = convert.place(error.mark), .what = "is not YAML: " + error.msg, .hint = hint});
  }
}

std::vector<std::string> split_key(std::string_view key, const std::string& origin) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= key.size();) {
    const auto end = std::min(key.find('.', begin), key.size());
    parts.emplace_back(key.substr(begin, end - begin));
    if (parts.back().empty()) {
      throw InvalidArgument({.where = origin, .what = "has an empty part in its key", .expected = "section.key=value"});
    }
    begin = end + 1;
  }
  return parts;
}

}  // namespace

ConfigNode ConfigNode::load(const std::filesystem::path& file) {
  const auto mapped = MappedFile::open(file);
  if (mapped->bytes().size() > kLargestFile) {
    throw InvalidArgument({.where = file.string(), .what = "is too large for a configuration", .expected = "a YAML file of at most 4 MiB"});
  }
  return parse(mapped->text(), file.string());
}

ConfigNode ConfigNode::parse(std::string_view text, const std::string& source) {
  auto root = convert_text(std::string(text), source, /*with_lines=*/true, "");
  if (root.kind != Kind::kMap && root.kind != Kind::kNull) {
    throw InvalidArgument({.where = source, .what = "is not a configuration", .expected = "sections with keys"});
  }
  return root;
}

void ConfigNode::set(const std::string& assignment) {
  const auto equals = assignment.find('=');
  const auto set_by = "--set " + assignment;
  if (equals == std::string::npos) {
    throw InvalidArgument({.where = set_by, .what = "has no value", .expected = "section.key=value"});
  }
  set(std::string_view(assignment).substr(0, equals), std::string_view(assignment).substr(equals + 1), set_by);
}

void ConfigNode::set(std::string_view dotted_key, std::string_view yaml_value, const std::string& set_by) {
  const auto parts = split_key(dotted_key, set_by);
  auto value = convert_text(std::string(yaml_value), set_by, /*with_lines=*/false, "put text with special characters in double quotes");
  ConfigNode* node = this;
  for (const auto& part : parts) {
    if (node->kind != Kind::kMap && node->kind != Kind::kNull) {
      throw InvalidArgument({.where = set_by, .what = "goes inside a value that is no section (" + node->origin + ")"});
    }
    node->kind = Kind::kMap;
    if (node->find_entry(part) == nullptr) node->entries.emplace_back(part, ConfigNode{.origin = set_by});
    node = const_cast<ConfigNode*>(node->find_entry(part));
  }
  *node = std::move(value);
}

const ConfigNode* ConfigNode::find_entry(std::string_view key) const {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.first == key; });
  return found == entries.end() ? nullptr : &found->second;
}

const ConfigNode* ConfigNode::find(std::string_view dotted_key) const {
  const ConfigNode* node = this;
  while (node != nullptr && !dotted_key.empty()) {
    const auto end = std::min(dotted_key.find('.'), dotted_key.size());
    node = node->find_entry(dotted_key.substr(0, end));
    dotted_key.remove_prefix(std::min(end + 1, dotted_key.size()));
  }
  return node;
}

}  // namespace graft
