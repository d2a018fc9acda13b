#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace graft::testing {

/// A text file of the repository.
struct SourceFile {
  std::string path;  ///< relative to the repository's root, with '/'
  std::string text;
};

/// One #include line.
struct Include {
  std::string target;  ///< what stands between the quotes or brackets
  bool quoted = false;
  int line = 0;  ///< from 1
};

/// All files below `folders` ("." for the whole repository) whose name ends in one of `endings` (empty: all), in order of path.
/// What git ignores (build, .venv, runs, models) and .git itself are left out.
std::vector<SourceFile> read_tree(const std::filesystem::path& root, const std::vector<std::string>& folders,
                                  const std::vector<std::string>& endings);

/// C++ sources and headers of the whole repository, read once.
const std::vector<SourceFile>& cpp_files();

std::vector<Include> includes_of(const SourceFile& file);

bool starts_with(const std::string& text, const std::string& prefix);
bool ends_with(const std::string& text, const std::string& ending);

/// One finding a line; an empty text means that all is well, so that tests read EXPECT_EQ("", lines(...)).
std::string lines(const std::vector<std::string>& findings);

}  // namespace graft::testing
