#pragma once

#include <string>
#include <vector>

#include "data_loaders/text/data_config.h"
#include "data_loaders/text/records.h"
#include "pipelines/report/report.h"

namespace graft::apps::agri {

/// Training and held-out records after all checks, and what the checks found.
struct DataSets {
  std::vector<data::Record> train, held_out;
  std::vector<data::DataReport::File> files;  ///< every data file, what it was read as, its SHA-256
  struct {
    int64_t rows = 0, bad_rows = 0, exact_duplicates = 0, near_duplicates = 0, overlaps = 0;
  } found;                                 ///< near_duplicates: only where they are looked for
  pipelines::DataReportSection findings;   ///< for the report
};

data::ReadOptions read_options(const data::DataConfig& config);

/// Reads the training files and the evaluation file (or splits some off by source document), drops repeated rows and training rows
/// that hold an evaluation question, as the settings say, and logs what was found.
DataSets read_data_sets(const std::vector<std::string>& train, const std::string& held_out, const data::DataConfig& config,
                        uint64_t seed);

}  // namespace graft::apps::agri
