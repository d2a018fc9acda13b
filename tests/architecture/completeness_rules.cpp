#include "tests/architecture/completeness_rules.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace graft::testing {
namespace {

/// "lora_plus" -> "LoraPlus".
std::string suite_name(const std::string& method) {
  std::string name;
  bool first = true;
  for (const char letter : method) {
    if (letter != '_') name += first ? static_cast<char>(std::toupper(static_cast<unsigned char>(letter))) : letter;
    first = letter == '_';
  }
  return name;
}

// True if `name` stands in `text` as a word of a source list, not as the end of a longer name.
bool names_file(const std::string& text, const std::string& name) {
  for (auto at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    const auto end = at + name.size();
    const bool starts = at == 0 || std::string(" \t\n(/\"").find(text[at - 1]) != std::string::npos;
    const bool ends = end == text.size() || std::string(" \t\n)\"").find(text[end]) != std::string::npos;
    if (starts && ends) return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> listed_methods(const std::string& builtin_methods) {
  static const std::regex call(R"re((\w+)_method\(\))re");
  std::set<std::string> names;
  for (auto match = std::sregex_iterator(builtin_methods.begin(), builtin_methods.end(), call); match != std::sregex_iterator();
       ++match) {
    names.insert((*match)[1]);
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> incomplete_methods(const SourceFile& listing, const std::vector<SourceFile>& files) {
  std::vector<std::string> findings;
  const auto methods = listed_methods(listing.text);
  if (methods.empty()) findings.push_back(listing.path + ": lists no method");
  for (const auto& method : methods) {
    const auto card = "docs/methods/" + method + ".md", test = "TEST(" + suite_name(method) + ",";
    const auto holds_card = [&](const SourceFile& file) { return file.path == card; };
    const auto holds_test = [&](const SourceFile& file) {
      return starts_with(file.path, "tests/peft_core/methods/") && file.text.find(test) != std::string::npos;
    };
    if (std::none_of(files.begin(), files.end(), holds_card)) findings.push_back("method " + method + ": " + card + " is missing");
    if (std::none_of(files.begin(), files.end(), holds_test))
      findings.push_back("method " + method + ": no file in tests/peft_core/methods has a " + test + " ...)");
  }
  return findings;
}

std::vector<std::string> unbuilt_sources(const std::vector<SourceFile>& files) {
  std::map<std::string, std::string> lists;  // folder -> text of its CMakeLists.txt
  for (const auto& file : files) {
    const std::filesystem::path path = file.path;
    if (path.filename() == "CMakeLists.txt") lists[path.parent_path().generic_string()] = file.text;
  }
  std::vector<std::string> findings;
  for (const auto& file : files) {
    const std::filesystem::path path = file.path;
    // graft_app() builds an application's main.cpp by itself.
    if (path.extension() != ".cpp" || (path.filename() == "main.cpp" && starts_with(file.path, "apps/"))) continue;
    bool named = false;
    for (auto folder = path.parent_path(); !named; folder = folder.parent_path()) {
      const auto list = lists.find(folder.generic_string());
      named = list != lists.end() && names_file(list->second, path.lexically_relative(folder).generic_string());
      if (folder.empty()) break;
    }
    if (!named) findings.push_back(file.path + ": no CMakeLists.txt names it");
  }
  return findings;
}

std::vector<std::string> empty_words(const std::vector<std::string>& paths) {
  static const std::set<std::string> kWords = {"util", "utils",     "helper", "helpers", "misc",     "common",
                                               "new",  "optimized", "fast",   "v2",      "manager"};
  std::vector<std::string> findings;
  for (const auto& path : paths) {
    std::string word;
    for (const char letter : path + "/") {
      if (std::string("/_-.").find(letter) == std::string::npos) {
        word += letter;
        continue;
      }
      if (kWords.count(word) != 0) findings.push_back(path + ": '" + word + "' says nothing about what is inside");
      word.clear();
    }
  }
  return findings;
}

std::vector<std::string> machine_names(const std::vector<SourceFile>& files) {
  // Put together from pieces, so that this file does not name them itself.
  static const std::regex pattern(std::string(R"re((^|[\s"'`(=:])/)re") + "(work|opt|root|home|srv|mnt)/|" +
                                  "(py" "pi|npm" "js|pytorch)\\.org|python" "hosted|deb\\.deb" "ian|registry\\.npm");
  std::vector<std::string> findings;
  for (const auto& file : files) {
    std::istringstream text(file.text);
    std::string line;
    for (int number = 1; std::getline(text, line); ++number) {
      if (line.size() > 10000) continue;  // a data row; std::regex recurses once a character
      std::smatch match;
      if (std::regex_search(line, match, pattern)) {
        findings.push_back(file.path + ":" + std::to_string(number) + ": names a machine's place or a registry: " + match.str());
      }
    }
  }
  return findings;
}

}  // namespace graft::testing
