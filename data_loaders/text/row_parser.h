#pragma once

// Internal: gives a row of fields its meaning. Not for other folders.

#include <map>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "data_loaders/text/record.h"
#include "peft_core/base/result.h"

namespace graft::data {

/// Which field plays which part; an empty name means that there is none.
struct FieldNames {
  std::string prompt = "instruction", query = "input", response = "output", history = "history", system = "system";
  std::string messages;               ///< empty: "conversations" or "messages", as the format says
  std::string role_tag, content_tag;  ///< empty: from/value or role/content, as the format says
  std::string text = "text";
  std::map<std::string, std::string> role_names;  ///< the file's name of a role -> system, user, assistant or tool
};

/// The format that the keys belong to; kAuto if none.
RecordFormat recognise_format(const nlohmann::json& row);

/// The record with all rules checked: roles alternate after an optional system turn and end with the assistant, no
/// empty answers, NFC. Unknown keys are in `meta`. `format` is not kAuto. kChoice asks for options, kQuestion takes
/// them where they are.
Result<Record> parse_row(const nlohmann::json& row, RecordFormat format, const FieldNames& names);

/// The reason why the turns form no dialogue to learn from; empty if they do.
std::string turn_problem(const std::vector<Message>& turns);

}  // namespace graft::data
