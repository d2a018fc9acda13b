#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data_loaders/text/record.h"

namespace graft::data {

/// One line of JSON without the line end. kOpenAi keeps everything that a Record holds: `messages`, `id`, `source_id`,
/// the question's parts where there are any, and unknown keys under `meta`. kAlpaca writes instruction, input, output,
/// system and history; documents become `{"text": ...}` in both. read_records() gives the same record again. Throws
/// InvalidArgument for another format, and for kAlpaca with tool turns, which have no place there.
std::string record_line(const Record& record, RecordFormat format);

/// JSON Lines, atomically. Throws IoError.
void write_records(const std::filesystem::path& file, const std::vector<Record>& records, RecordFormat format);

}  // namespace graft::data
