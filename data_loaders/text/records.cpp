#include "data_loaders/text/records.h"

#include <algorithm>
#include <set>

#include "data_loaders/text/clean_text.h"
#include "data_loaders/text/dataset_info.h"
#include "data_loaders/text/raw_rows.h"
#include "data_loaders/text/row_parser.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/sha256.h"

namespace graft::data {
namespace {

constexpr int64_t kHopeless = 10'000;  // bad rows at a file's start without a single good one

enum class Container { kJson, kCsv, kDocument };

Container container_of(const std::filesystem::path& path, std::string_view text) {
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    throw IoError(
        {.where = path.string(), .what = "UTF-16 text", .expected = "UTF-8", .hint = "save the file as UTF-8"});
  }
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  static const std::set<std::string> json_names{".json", ".jsonl", ".ndjson"}, csv_names{".csv", ".tsv"},
      document_names{".txt", ".md", ".text"};
  if (json_names.contains(extension)) return Container::kJson;
  if (csv_names.contains(extension)) return Container::kCsv;
  if (document_names.contains(extension)) return Container::kDocument;
  const auto first = text.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  if (first != std::string_view::npos && (text[first] == '{' || text[first] == '[')) return Container::kJson;
  throw InvalidArgument({.where = path.string(),
                         .what = "unknown kind of data file",
                         .expected = ".json, .jsonl, .ndjson, .csv, .tsv, .txt or .md",
                         .got = "\"" + extension + "\""});
}

/// Reads one file; turns rows into records and bad rows into report lines.
class FileReader {
 public:
  FileReader(const DataSource& source, RecordFormat format) : source_(source), format_(format) {
    report_.files.push_back({.path = source.file.string()});
  }

  RecordSet read() {
    const auto mapped = MappedFile::open(source_.file);
    file().sha256 = sha256_hex(mapped->text());
    const RowSink sink = [this](RowPlace place, RawRow row) { take(place, std::move(row)); };
    switch (container_of(source_.file, mapped->text())) {
      case Container::kJson:
        for_each_json_row(mapped->text(), source_.file, sink);
        break;
      case Container::kCsv:
        for_each_csv_row(mapped->text(), source_.file, sink);
        break;
      case Container::kDocument:
        take_document(mapped->text());
        break;
    }
    require_known_format();
    file().format = name_of(format_);
    return {std::move(records_), std::move(report_)};
  }

 private:
  DataReport::File& file() { return report_.files.front(); }

  void take(RowPlace place, RawRow row) {
    ++file().rows;
    if (!row) return bad(place, row.reason());
    if (format_ == RecordFormat::kAuto) recognise(row.value());
    auto record = parse_row(row.value(), format_, source_.names);
    if (!record) return bad(place, record.reason());
    records_.push_back(std::move(record).value());
    records_.back().file = source_.file;
    records_.back().line = place.line;
    records_.back().row = place.row;
  }
  void recognise(const nlohmann::json& row) {
    const auto found = recognise_format(row);
    // Rows with and without options live in one file, so the guess does not insist on options.
    format_ = found == RecordFormat::kChoice ? RecordFormat::kQuestion : found;
    if (found != RecordFormat::kAuto || !unknown_keys_.empty() || !row.is_object()) return;
    for (const auto& [key, value] : row.items()) {
      if (unknown_keys_.size() < 200) unknown_keys_ += (unknown_keys_.empty() ? "" : ", ") + excerpt(key, 40);
    }
  }
  void require_known_format() {
    if (format_ != RecordFormat::kAuto || file().rows == 0 || unknown_keys_.empty()) return;
    throw InvalidArgument({.where = source_.file.string(),
                           .what = "the rows' keys belong to no known data format",
                           .expected = known_formats(),
                           .got = unknown_keys_,
                           .hint = "set data.format, or name the columns in a dataset_info.json"});
  }
  void take_document(std::string_view text) {
    ++file().rows;
    if (format_ != RecordFormat::kAuto && format_ != RecordFormat::kText) {
      throw InvalidArgument({.where = source_.file.string(),
                             .what = "a plain text file holds one document, not rows",
                             .expected = "data.format text",
                             .got = std::string(name_of(format_))});
    }
    format_ = RecordFormat::kText;
    auto cleaned = clean_text(text);
    if (!cleaned) return bad({1, 1}, cleaned.reason());
    if (is_blank(cleaned.value())) return bad({1, 1}, "empty text");
    Record record{
        .text = std::move(cleaned).value(), .source = source_.file.string(), .file = source_.file, .line = 1, .row = 1};
    records_.push_back(std::move(record));
  }
  void bad(RowPlace place, const std::string& reason) {
    ++file().bad_rows;
    report_.add_bad_row(source_.file.string() + ":" + std::to_string(place.line), reason);
    if (records_.empty() && file().bad_rows == kHopeless) {  // no data file; the rest may be gigabytes of the same
      require_known_format();
      file().format = name_of(format_);
      require_mostly_good(report_, 0);
    }
  }

  const DataSource& source_;
  RecordFormat format_;
  std::string unknown_keys_;
  std::vector<Record> records_;
  DataReport report_;
};

}  // namespace

RecordSet read_records(const std::vector<std::string>& names, const ReadOptions& options) {
  RecordSet all;
  for (const auto& name : names) {
    for (const auto& source : resolve_data_name(name)) {
      RecordSet one = FileReader(source, source.format == RecordFormat::kAuto ? options.format : source.format).read();
      std::move(one.records.begin(), one.records.end(), std::back_inserter(all.records));
      all.report.append(one.report);
    }
  }
  require_mostly_good(all.report, options.bad_row_limit);
  return all;
}

}  // namespace graft::data
