#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace graft::data {

/// A row that could not be used.
struct BadRow {
  std::string place;  ///< file:line
  std::string reason;
};

/// What reading found. Reports of several files add up.
struct DataReport {
  static constexpr size_t kKept = 1000;  ///< bad rows that are kept with their reasons; all are counted

  struct File {
    std::string path, format, sha256;
    int64_t rows = 0;  ///< good and bad
    int64_t bad_rows = 0;
  };
  std::vector<File> files;
  std::vector<BadRow> bad_rows;

  int64_t row_count() const;
  int64_t bad_row_count() const;
  void add_bad_row(std::string place, std::string reason);
  void append(const DataReport& other);
};

/// Bad rows that a file of `rows` rows may have: none for share 0, else at least one, as a single slip should not cost
/// a small file its run.
int64_t allowed_bad_rows(int64_t rows, double share);

/// Throws IoError that quotes the first reasons if a file has more bad rows than allowed or no good one.
void require_mostly_good(const DataReport& report, double bad_row_limit);

/// A few lines for people: rows, bad rows and the first reasons.
std::string to_text(const DataReport& report, size_t reasons = 5);

}  // namespace graft::data
