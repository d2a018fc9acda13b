#include "data_loaders/text/data_report.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"

namespace graft::data {
namespace {

std::string first_reasons(const DataReport& report, const std::string& path, size_t count) {
  std::string text;
  size_t quoted = 0;
  for (const auto& bad : report.bad_rows) {
    if (!bad.place.starts_with(path + ":")) continue;
    if (quoted++ == count) break;
    if (!text.empty()) text += "; ";
    text += bad.place.substr(path.size() + 1) + " " + bad.reason;
  }
  return text;
}

}  // namespace

int64_t DataReport::row_count() const {
  int64_t sum = 0;
  for (const auto& file : files) sum += file.rows;
  return sum;
}

int64_t DataReport::bad_row_count() const {
  int64_t sum = 0;
  for (const auto& file : files) sum += file.bad_rows;
  return sum;
}

void DataReport::add_bad_row(std::string place, std::string reason) {
  if (bad_rows.size() < kKept) bad_rows.push_back({std::move(place), std::move(reason)});
}

void DataReport::append(const DataReport& other) {
  files.insert(files.end(), other.files.begin(), other.files.end());
  for (const auto& bad : other.bad_rows) add_bad_row(bad.place, bad.reason);
}

int64_t allowed_bad_rows(int64_t rows, double share) {
  if (share <= 0) return 0;
  return std::max<int64_t>(1, static_cast<int64_t>(std::floor(share * static_cast<double>(rows))));
}

void require_mostly_good(const DataReport& report, double bad_row_limit) {
  for (const auto& file : report.files) {
    const bool none_good = file.rows == file.bad_rows;
    if (!none_good && file.bad_rows <= allowed_bad_rows(file.rows, bad_row_limit)) continue;
    const std::string counts = std::to_string(file.bad_rows) + " of " + std::to_string(file.rows) + " rows are bad";
    if (file.rows == 0) throw IoError({.where = file.path, .what = "holds no rows"});
    throw IoError({.where = file.path,
                   .what = counts + " (read as " + file.format + "): line " + first_reasons(report, file.path, 3),
                   .expected = none_good ? "at least one good row"
                                         : "at most " + std::to_string(allowed_bad_rows(file.rows, bad_row_limit)),
                   .hint = none_good ? "see data.format" : "mend them or raise data.bad_row_limit"});
  }
}

std::string to_text(const DataReport& report, size_t reasons) {
  std::string text;
  for (const auto& file : report.files) {
    text += file.path + ": " + std::to_string(file.rows - file.bad_rows) + " rows read as " + file.format;
    if (file.bad_rows > 0) text += ", " + std::to_string(file.bad_rows) + " bad";
    text += "\n";
  }
  for (size_t i = 0; i < std::min(reasons, report.bad_rows.size()); ++i) {
    text += "  " + report.bad_rows[i].place + ": " + report.bad_rows[i].reason + "\n";
  }
  return text;
}

}  // namespace graft::data
