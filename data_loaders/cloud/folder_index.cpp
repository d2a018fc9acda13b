#include "data_loaders/cloud/folder_index.h"

#include <algorithm>
#include <set>

#include "data_loaders/cloud/number_scanner.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/text_distance.h"

namespace graft::data {
namespace {

namespace fs = std::filesystem;

/// Fields of one line; quotes may stand around a field and are doubled within. Nothing if the quotes do not close.
std::optional<std::vector<std::string>> fields_of(std::string_view line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"')
      fields.back() += line[++i];
    else if (c == '"')
      quoted = !quoted;
    else if (c == ',' && !quoted)
      fields.emplace_back();
    else
      fields.back() += c;
  }
  return quoted ? std::nullopt : std::optional(fields);
}

CloudFile file_below(const fs::path& folder, const std::string& name, const std::string& where) {
  const auto relative = fs::path(name).lexically_normal();
  if (relative.is_absolute() || *relative.begin() == "..") throw IoError({.where = where, .what = "the file is not in the folder", .got = name});
  auto file = cloud_file_named((folder / relative).string());
  if (!fs::exists(file.path)) throw IoError({.where = where, .what = "the file is not there", .got = name});
  return file;
}

class FolderIndex {
 public:
  FolderIndex(const fs::path& folder, const std::string& split) : folder_(folder), path_(folder / "index.csv"), split_(split) {}

  std::vector<NamedCloud> read() {
    auto text = read_file(path_);
    if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
    TextScanner lines(text);
    const auto head = lines.line();
    if (!head) throw IoError({.where = path_.string(), .what = "is empty", .expected = "a first line file,label"});
    take_names(*head);
    while (const auto line = lines.line()) {
      if (!line->empty()) take_row(*line, lines.lines());
    }
    if (!split_.empty() && rows_.empty()) {
      throw InvalidArgument({.where = path_.string(),
                             .what = "no row of that split",
                             .expected = splits_.empty() ? "" : "one of " + join({splits_.begin(), splits_.end()}),
                             .got = "\"" + split_ + "\""});
    }
    if (split_.empty() && splits_.size() > 1) {
      throw InvalidArgument({.where = path_.string(),
                             .what = "has several splits, and none is chosen",
                             .expected = "one of " + join({splits_.begin(), splits_.end()})});
    }
    return std::move(rows_);
  }

 private:
  void take_names(std::string_view line) {
    const auto names = fields_of(line).value_or(std::vector<std::string>());
    const auto find = [&](const char* name) { return static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin()); };
    file_ = find("file");
    label_ = find("label");
    split_column_ = find("split");
    columns_ = names.size();
    if (file_ == columns_ || label_ == columns_)
      throw IoError({.where = path_.string() + ", line 1", .what = "lacks a column", .expected = "file and label", .got = join(names)});
    if (!split_.empty() && split_column_ == columns_)
      throw InvalidArgument({.where = path_.string(), .what = "has no column split, so that " + split_ + " cannot be chosen"});
  }

  void take_row(std::string_view line, int64_t number) {
    const auto where = path_.string() + ", line " + std::to_string(number);
    const auto fields = fields_of(line);
    if (!fields || fields->size() != columns_) {
      throw IoError({.where = where,
                     .what = "another number of fields",
                     .expected = std::to_string(columns_),
                     .got = fields ? std::to_string(fields->size()) : "an open quote"});
    }
    const auto& name = (*fields)[file_];
    const auto& label = (*fields)[label_];
    if (name.empty() || label.empty()) throw IoError({.where = where, .what = "file or label is empty"});
    auto file = file_below(folder_, name, where);
    if (split_column_ < columns_) {
      splits_.insert((*fields)[split_column_]);
      if (!split_.empty() && (*fields)[split_column_] != split_) return;
    }
    rows_.push_back({std::move(file), label});
  }

  const fs::path& folder_;
  const fs::path path_;
  const std::string& split_;
  size_t file_ = 0, label_ = 0, split_column_ = 0, columns_ = 0;
  std::set<std::string> splits_;
  std::vector<NamedCloud> rows_;
};

}  // namespace

std::vector<NamedCloud> read_folder_index(const fs::path& folder, const std::string& split) { return FolderIndex(folder, split).read(); }

std::vector<CloudFile> read_file_list(const fs::path& folder) {
  const auto list = folder / "files.txt";
  const auto text = read_file(list);
  TextScanner lines(text);
  std::vector<CloudFile> files;
  while (const auto line = lines.line()) {
    if (!line->empty()) files.push_back(file_below(folder, std::string(*line), list.string() + ", line " + std::to_string(lines.lines())));
  }
  if (files.empty()) throw IoError({.where = list.string(), .what = "is empty", .expected = "paths of clouds, one a line"});
  return files;
}

}  // namespace graft::data
