#include "data_loaders/text/record_writer.h"

#include <ostream>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"

namespace graft::data {
namespace {

using json = nlohmann::ordered_json;

json meta_of(const Record& record) {
  json meta = json::object();
  for (const auto& [key, value] : record.meta) meta[key] = json::parse(value);
  return meta;
}

/// The source goes out under its own key unless a kept key says it already.
bool source_is_kept(const Record& record) {
  if (record.source.empty() || record.source == record.context) return true;
  for (const auto* key : {"source", "document", "context"}) {
    const auto found = record.meta.find(key);
    if (found != record.meta.end()) return json::parse(found->second) == json(record.source);
  }
  return false;
}

void add_origin(const Record& record, json meta, json& row) {
  if (!record.id.empty()) row["id"] = record.id;
  if (!source_is_kept(record)) row["source_id"] = record.source;
  if (!meta.empty()) row["meta"] = std::move(meta);
}

void add_question(const Record& record, json& row) {
  if (record.question.empty()) return;
  row["question"] = record.question;
  if (!record.context.empty()) row["context"] = record.context;
  if (!record.instruction.empty()) row["instruction"] = record.instruction;
  if (record.choices.empty()) {
    row["answers"] = record.answers;
    return;
  }
  for (size_t i = 0; i < record.choices.size(); ++i)
    row["choices"][std::string(1, static_cast<char>('A' + i))] = record.choices[i];
  row["answer"] = record.answers.front();
}

json openai_row(const Record& record) {
  json row;
  row["messages"] = json::array();
  for (const auto& turn : record.turns) row["messages"].push_back({{"role", turn.role}, {"content", turn.content}});
  add_question(record, row);
  json meta = meta_of(record);
  if (!record.input.empty()) meta["alpaca_input"] = record.input;
  add_origin(record, std::move(meta), row);
  return row;
}

std::string instruction_before(const std::string& user, const std::string& input) {
  std::string instruction = user.substr(0, user.size() - input.size());
  if (!input.empty() && instruction.ends_with('\n')) instruction.pop_back();
  return instruction;
}

json alpaca_row(const Record& record) {
  json row, history = json::array();
  size_t first = 0;
  if (record.turns.front().role == "system") first = 1;
  for (size_t i = first; i < record.turns.size(); i += 2) {
    if (record.turns[i].role != "user" || i + 1 == record.turns.size() || record.turns[i + 1].role != "assistant") {
      throw InvalidArgument({.where = place_of(record),
                             .what = "tool turns have no place in Alpaca rows",
                             .hint = "write OpenAI messages"});
    }
    if (i + 2 < record.turns.size()) history.push_back({record.turns[i].content, record.turns[i + 1].content});
  }
  const std::string& user = record.turns[record.turns.size() - 2].content;
  row["instruction"] = instruction_before(user, record.input);
  row["input"] = record.input;
  row["output"] = record.turns.back().content;
  if (first == 1) row["system"] = record.turns.front().content;
  if (!history.empty()) row["history"] = std::move(history);
  add_origin(record, meta_of(record), row);
  return row;
}

}  // namespace

std::string record_line(const Record& record, RecordFormat format) {
  json row;
  if (record.turns.empty()) {
    row["text"] = record.text;
    add_origin(record, meta_of(record), row);
  } else if (format == RecordFormat::kOpenAi) {
    row = openai_row(record);
  } else if (format == RecordFormat::kAlpaca) {
    row = alpaca_row(record);
  } else {
    throw InvalidArgument({.what = "records are written as openai or alpaca", .got = std::string(name_of(format))});
  }
  return row.dump();
}

void write_records(const std::filesystem::path& file, const std::vector<Record>& records, RecordFormat format) {
  write_file_atomically(file, [&](std::ostream& out) {
    for (const auto& record : records) out << record_line(record, format) << '\n';
  });
}

}  // namespace graft::data
