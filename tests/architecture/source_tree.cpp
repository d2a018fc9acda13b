#include "tests/architecture/source_tree.h"

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "tests/support/shared_data.h"

namespace graft::testing {
namespace {

namespace fs = std::filesystem;

const std::set<std::string> kIgnoredFolders = {".git", "build", ".venv", "runs", "models", "__pycache__", ".pytest_cache"};

bool has_ending(const std::string& path, const std::vector<std::string>& endings) {
  return endings.empty() ||
         std::any_of(endings.begin(), endings.end(), [&](const auto& ending) { return ends_with(path, ending); });
}

std::string read_whole(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace

bool starts_with(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

bool ends_with(const std::string& text, const std::string& ending) {
  return text.size() >= ending.size() && text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

std::vector<SourceFile> read_tree(const fs::path& root, const std::vector<std::string>& folders,
                                  const std::vector<std::string>& endings) {
  std::vector<SourceFile> files;
  for (const auto& folder : folders) {
    if (!fs::exists(root / folder)) continue;
    for (auto entry = fs::recursive_directory_iterator(root / folder); entry != fs::recursive_directory_iterator(); ++entry) {
      if (entry->is_directory() && kIgnoredFolders.count(entry->path().filename().string()) != 0) {
        entry.disable_recursion_pending();
      } else if (entry->is_regular_file()) {
        const auto path = entry->path().lexically_normal().lexically_relative(root).generic_string();
        if (has_ending(path, endings)) files.push_back({path, read_whole(entry->path())});
      }
    }
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

const std::vector<SourceFile>& cpp_files() {
  static const auto files = read_tree(source_dir(), {"kernels", "peft_core", "data_loaders", "pipelines", "apps", "bench", "tests"},
                                      {".h", ".cpp", ".cu", ".cuh", ".inc"});
  return files;
}

std::vector<Include> includes_of(const SourceFile& file) {
  static const std::regex pattern(R"re(^\s*#\s*include\s*([<"])([^>"]+)[>"])re");
  std::vector<Include> includes;
  std::istringstream text(file.text);
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    std::smatch match;
    if (std::regex_search(line, match, pattern)) includes.push_back({match[2], match[1] == "\"", number});
  }
  return includes;
}

std::string lines(const std::vector<std::string>& findings) {
  std::string text;
  for (const auto& finding : findings) text += finding + "\n";
  return text;
}

}  // namespace graft::testing
