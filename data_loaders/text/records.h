#pragma once

#include <string>
#include <vector>

#include "data_loaders/text/data_report.h"
#include "data_loaders/text/record.h"

namespace graft::data {

struct ReadOptions {
  RecordFormat format = RecordFormat::kAuto;
  double bad_row_limit = 0.01;  ///< share of a file's rows, see allowed_bad_rows()
};

/// What a list of data files holds, in order.
struct RecordSet {
  std::vector<Record> records;
  DataReport report;
};

/// Reads data as a user names it. A name is one of
///  - a `.json`, `.jsonl`, `.ndjson`, `.csv` or `.tsv` file of rows; any other text file that begins with `{` or `[`
///  counts as JSON;
///  - a `.txt` or `.md` file: one document;
///  - `FOLDER/dataset_info.json:NAME`, `FOLDER:NAME` or `FOLDER` with LLaMA-Factory's dataset_info.json (without NAME:
///  its only entry).
/// With kAuto each file's format is that of its first row that has one.
///
/// Throws   InvalidArgument if no row's keys belong to a known format (the known ones are listed) or a name is not
/// understood;
///          IoError for a missing, truncated or UTF-16 file, for more bad rows than allowed (first reasons quoted) and
///          for no good row.
RecordSet read_records(const std::vector<std::string>& names, const ReadOptions& options = {});

}  // namespace graft::data
