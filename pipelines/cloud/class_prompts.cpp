#include "pipelines/cloud/class_prompts.h"

#include <algorithm>
#include <sstream>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"

namespace graft::pipelines {
namespace {

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// Throws InvalidArgument for an empty item.
std::vector<std::string> items_of(const std::string& list, const std::string& where, const char* what) {
  std::vector<std::string> items;
  std::istringstream rest(list + ",");
  for (std::string item; std::getline(rest, item, ',');) {
    items.push_back(trimmed(item));
    if (items.back().empty()) throw InvalidArgument({.where = where, .what = std::string("has ") + what + " without a word", .got = "'" + list + "'"});
  }
  return items;
}

void add_class(std::vector<CloudClass>& classes, CloudClass added, const std::string& where) {
  if (std::any_of(classes.begin(), classes.end(), [&](const auto& known) { return known.name == added.name; }))
    throw InvalidArgument({.where = where, .what = "names the class '" + added.name + "' a second time"});
  classes.push_back(std::move(added));
}

size_t holes(const std::string& text) {
  size_t count = 0;
  for (size_t at = text.find("{}"); at != std::string::npos; at = text.find("{}", at + 2)) ++count;
  return count;
}

std::string filled(std::string text, const std::vector<std::string>& words) {
  size_t at = 0;
  for (const auto& word : words) {
    at = text.find("{}", at);
    text.replace(at, 2, word);
    at += word.size();
  }
  return text;
}

CloudClass class_of_line(const std::string& line, const std::string& where) {
  const auto colon = line.find(':');
  auto names = items_of(line.substr(0, colon), where, "a name");
  CloudClass read{.name = names.front(), .synonyms = {names.begin() + 1, names.end()}, .attributes = {}};
  if (colon != std::string::npos) read.attributes = items_of(line.substr(colon + 1), where, "an attribute");
  return read;
}

}  // namespace

std::vector<CloudClass> classes_in_list(const std::string& list) {
  std::vector<CloudClass> classes;
  for (const auto& name : items_of(list, "--classes", "a name")) add_class(classes, {.name = name, .synonyms = {}, .attributes = {}}, "--classes");
  return classes;
}

std::vector<CloudClass> classes_in_file(const std::filesystem::path& file) {
  std::vector<CloudClass> classes;
  std::istringstream lines(read_file(file));
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto where = file.string() + ":" + std::to_string(++number);
    line = trimmed(line);
    if (!line.empty() && line.front() != '#') add_class(classes, class_of_line(line, where), where);
  }
  if (classes.empty()) throw IoError({.where = file.string(), .what = "names no class", .expected = "one name a line"});
  return classes;
}

void check(const PromptConfig& config, const std::string& section) {
  if (holes(config.text) != 1) throw InvalidArgument({.where = section + ".text", .what = "has no place for the class", .expected = "one {}", .got = config.text});
  if (holes(config.attribute) != 2)
    throw InvalidArgument({.where = section + ".attribute", .what = "has no place for class and attribute", .expected = "two {}", .got = config.attribute});
}

std::vector<std::string> prompts_of(const CloudClass& which, const PromptConfig& config) {
  std::vector<std::string> prompts = {filled(config.text, {which.name})};
  for (const auto& synonym : which.synonyms) prompts.push_back(filled(config.text, {synonym}));
  for (const auto& attribute : which.attributes) prompts.push_back(filled(config.attribute, {which.name, attribute}));
  return prompts;
}

}  // namespace graft::pipelines
