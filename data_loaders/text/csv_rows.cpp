#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "data_loaders/text/clean_text.h"
#include "data_loaders/text/raw_rows.h"
#include "kernels/base/error.h"

namespace graft::data {
namespace {

struct CsvRecord {
  int64_t line = 0;
  std::vector<std::string> fields;
  std::string problem;
};

class CsvScanner {
 public:
  CsvScanner(std::string_view text, char separator, const std::filesystem::path& file)
      : text_(text), separator_(separator), file_(file) {}

  /// Next record that is no empty line; nothing at the end.
  std::optional<CsvRecord> next() {
    while (at_ < text_.size() && (text_[at_] == '\n' || text_[at_] == '\r')) take();
    if (at_ == text_.size()) return std::nullopt;
    CsvRecord record{.line = line_};
    while (read_field(record)) {
    }
    return record;
  }

 private:
  char take() {
    line_ += text_[at_] == '\n';
    return text_[at_++];
  }
  bool ended() const { return at_ == text_.size() || text_[at_] == '\n' || text_[at_] == '\r'; }

  /// True if another field follows in the same record.
  bool read_field(CsvRecord& record) {
    std::string field;
    if (at_ < text_.size() && text_[at_] == '"') read_quoted(field, record);
    while (!ended() && text_[at_] != separator_) {
      if (text_[at_] == '"' && record.problem.empty()) record.problem = "a quote inside a field that is not quoted";
      field += take();
    }
    record.fields.push_back(std::move(field));
    if (ended()) return false;
    take();
    return true;
  }
  void read_quoted(std::string& field, CsvRecord& record) {
    const int64_t opened = line_;
    take();
    while (at_ < text_.size()) {
      const char c = take();
      if (c != '"') {
        field += c;
      } else if (at_ < text_.size() && text_[at_] == '"') {
        field += take();
      } else {
        if (!ended() && text_[at_] != separator_) record.problem = "text after a field's closing quote";
        return;
      }
    }
    throw IoError(
        {.where = file_.string() + ":" + std::to_string(opened), .what = "the quote that opens here is never closed"});
  }

  std::string_view text_;
  char separator_;
  const std::filesystem::path& file_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

char separator_of(std::string_view text) {
  std::array<std::pair<char, int>, 3> counts{{{',', 0}, {';', 0}, {'\t', 0}}};
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (c == '\n' && !quoted) break;
    for (auto& [separator, count] : counts) count += !quoted && c == separator;
  }
  return std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
}

void check_header(const CsvRecord& header, const std::filesystem::path& file) {
  const auto fail = [&](const std::string& what) {
    throw IoError({.where = file.string() + ":" + std::to_string(header.line), .what = "CSV header: " + what});
  };
  if (!header.problem.empty()) fail(header.problem);
  std::set<std::string> seen;
  for (const auto& name : header.fields) {
    if (find_invalid_utf8(name) != std::string::npos) fail("invalid UTF-8");
    if (!seen.insert(name).second) fail("two columns are called \"" + excerpt(name) + "\"");
  }
}

RawRow to_row(const CsvRecord& record, const std::vector<std::string>& names) {
  if (!record.problem.empty()) return RawRow::failure(record.problem);
  if (record.fields.size() != names.size()) {
    return RawRow::failure("expected " + std::to_string(names.size()) + " fields as in the header, got " +
                           std::to_string(record.fields.size()));
  }
  auto row = nlohmann::json::object();
  for (size_t i = 0; i < names.size(); ++i) {
    if (record.fields[i].size() > kMaxRowBytes) return RawRow::failure("field of over 16 MiB");
    if (find_invalid_utf8(record.fields[i]) != std::string::npos)
      return RawRow::failure("invalid UTF-8 in \"" + excerpt(names[i]) + "\"");
    row[names[i]] = record.fields[i];
  }
  return row;
}

}  // namespace

void for_each_csv_row(std::string_view text, const std::filesystem::path& file, const RowSink& sink) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  CsvScanner scanner(text, separator_of(text), file);
  auto header = scanner.next();
  if (!header) return;
  for (size_t i = 0; i < header->fields.size();
       ++i) {  // spreadsheets and data frames write index columns without a name
    if (header->fields[i].empty()) header->fields[i] = "column " + std::to_string(i + 1);
  }
  check_header(*header, file);
  int64_t row = 0;
  while (const auto record = scanner.next())
    sink({.line = record->line, .row = ++row}, to_row(*record, header->fields));
}

}  // namespace graft::data
