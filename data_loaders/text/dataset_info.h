#pragma once

// Internal: what a user's data name stands for. Not for other folders.

#include <filesystem>
#include <string>
#include <vector>

#include "data_loaders/text/record.h"
#include "data_loaders/text/row_parser.h"

namespace graft::data {

struct DataSource {
  std::filesystem::path file;
  RecordFormat format = RecordFormat::kAuto;  ///< kAuto: not said
  FieldNames names;
};

/// The file itself, or the entry of a LLaMA-Factory dataset_info.json: `file_name` (a file, or a folder of files),
/// `formatting` (alpaca, sharegpt, openai), `columns` (prompt, query, response, history, messages, system) and `tags`
/// (role_tag, content_tag, user_tag, assistant_tag, observation_tag, function_tag, system_tag). As there, `system` and
/// `history` count only where named. Throws InvalidArgument for a name that is not there (known ones listed), an entry
/// that loads from a network hub or a script, and preference data; IoError for a file that cannot be read.
std::vector<DataSource> resolve_data_name(const std::string& name);

}  // namespace graft::data
