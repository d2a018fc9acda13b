#include "data_loaders/text/row_parser.h"

#include <algorithm>

#include "data_loaders/text/clean_text.h"
#include "data_loaders/text/question_row.h"
#include "data_loaders/text/row_fields.h"

namespace graft::data {
namespace {

using nlohmann::json;

const std::map<std::string, std::string>& known_roles() {
  static const std::map<std::string, std::string> roles{
      {"human", "user"},          {"user", "user"},        {"gpt", "assistant"},
      {"assistant", "assistant"}, {"model", "assistant"},  {"function_call", "assistant"},
      {"system", "system"},       {"developer", "system"}, {"tool", "tool"},
      {"function", "tool"},       {"observation", "tool"}};
  return roles;
}

std::string role_of(const std::string& name, const FieldNames& names) {
  if (const auto own = names.role_names.find(name); own != names.role_names.end()) return own->second;
  if (const auto known = known_roles().find(name); known != known_roles().end()) return known->second;
  throw RowProblem{"unknown role \"" + excerpt(name, 40) + "\""};
}

/// A string, or OpenAI's list of parts; only text parts can be learnt from.
std::string content_text(const json& content) {
  if (content.is_null()) return "";
  if (!content.is_array()) return text_of(content, "content");
  std::string text;
  for (const auto& part : content) {
    if (!part.is_object() || part.value("type", "") != "text" || !part.contains("text"))
      throw RowProblem{"a content part that is no text"};
    text += text_of(part["text"], "text");
  }
  return text;
}

Message turn_of(const json& message, const FieldNames& names, bool share_gpt) {
  if (!message.is_object()) throw RowProblem{"a turn that is no object"};
  const bool from_value = names.role_tag.empty() && share_gpt && message.contains("from");
  const std::string role_tag = !names.role_tag.empty() ? names.role_tag : from_value ? "from" : "role";
  const std::string content_tag = !names.content_tag.empty() ? names.content_tag : from_value ? "value" : "content";
  if (!message.contains(role_tag)) throw RowProblem{"a turn without \"" + excerpt(role_tag, 40) + "\""};
  if (!message.contains(content_tag)) throw RowProblem{"a turn without \"" + excerpt(content_tag, 40) + "\""};
  return {role_of(text_of(message[role_tag], role_tag), names), content_text(message[content_tag])};
}

void add_system(RowFields& fields, const FieldNames& names, Record& record) {
  const std::string system = names.system.empty() ? "" : fields.text_or_empty(names.system);
  if (!is_blank(system)) record.turns.push_back({"system", system});
}

void parse_alpaca(RowFields& fields, const FieldNames& names, Record& record) {
  add_system(fields, names, record);
  if (const auto history = names.history.empty() ? std::nullopt : fields.structure(names.history)) {
    for (const auto& pair : *history) {
      if (!pair.is_array() || pair.size() != 2) throw RowProblem{"\"history\" is no list of [question, answer] pairs"};
      record.turns.push_back({"user", text_of(pair[0], "history")});
      record.turns.push_back({"assistant", text_of(pair[1], "history")});
    }
  }
  const std::string instruction = fields.required_text(names.prompt);
  record.input = names.query.empty() ? "" : fields.text_or_empty(names.query);
  const bool both = !instruction.empty() && !record.input.empty();
  record.turns.push_back({"user", instruction + (both ? "\n" : "") + record.input});
  record.turns.push_back({"assistant", fields.required_text(names.response)});
}

void parse_dialogue(RowFields& fields, const FieldNames& names, bool share_gpt, Record& record) {
  add_system(fields, names, record);
  const std::string key = !names.messages.empty() ? names.messages : share_gpt ? "conversations" : "messages";
  const auto messages = fields.structure(key);
  if (!messages) throw RowProblem{"no field \"" + excerpt(key, 40) + "\""};
  if (!messages->is_array()) throw RowProblem{"\"" + excerpt(key, 40) + "\" is no list"};
  for (const auto& message : *messages) record.turns.push_back(turn_of(message, names, share_gpt));
  std::erase_if(record.turns, [](const Message& turn) { return turn.role == "system" && is_blank(turn.content); });
}

void parse_completion(RowFields& fields, Record& record) {
  record.turns.push_back({"user", fields.required_text("prompt")});
  record.turns.push_back({"assistant", fields.required_text("completion")});
}

void parse_document(RowFields& fields, const FieldNames& names, Record& record) {
  record.text = fields.required_text(names.text);
  if (is_blank(record.text)) throw RowProblem{"empty text"};
}

/// What our own writer adds to a row of messages, so that nothing is lost on the way through a file.
void take_written_fields(RowFields& fields, Record& record) {
  if (fields.has("question") && (fields.has("choices") || fields.has("answers")))
    take_question(fields, /*choices_required=*/false, record);
}

void take_source(RowFields& fields, Record& record) {
  record.id = fields.text_or_empty("id");
  record.source = fields.text_or_empty("source_id");
  record.meta = fields.rest();
  for (const auto* key : {"source", "document", "context"}) {
    if (!record.source.empty()) return;
    if (!record.context.empty() && key == std::string("context")) record.source = record.context;
    const auto found = record.meta.find(key);
    if (found == record.meta.end()) continue;
    const auto value = json::parse(found->second, nullptr, /*allow_exceptions=*/false);
    if (value.is_string()) record.source = text_of(value, key);
    if (value.is_number()) record.source = value.dump();
  }
}

/// Alpaca's border between instruction and input, kept by our writer.
void take_alpaca_input(Record& record) {
  const auto kept = record.meta.find("alpaca_input");
  if (kept == record.meta.end() || !record.input.empty()) return;
  const auto value = json::parse(kept->second, nullptr, /*allow_exceptions=*/false);
  if (!value.is_string() || !question_of(record).ends_with(value.get_ref<const std::string&>())) return;
  record.input = value.get<std::string>();
  record.meta.erase(kept);
}

void parse_fields(RowFields& fields, RecordFormat format, const FieldNames& names, Record& record) {
  switch (format) {
    case RecordFormat::kAlpaca:
      return parse_alpaca(fields, names, record);
    case RecordFormat::kShareGpt:
      return parse_dialogue(fields, names, /*share_gpt=*/true, record);
    case RecordFormat::kOpenAi:
      parse_dialogue(fields, names, /*share_gpt=*/false, record);
      return take_written_fields(fields, record);
    case RecordFormat::kCompletion:
      return parse_completion(fields, record);
    case RecordFormat::kQuestion:
      return parse_question(fields, /*choices_required=*/false, record);
    case RecordFormat::kChoice:
      return parse_question(fields, /*choices_required=*/true, record);
    case RecordFormat::kText:
      return parse_document(fields, names, record);
    case RecordFormat::kAuto:
      break;
  }
  throw RowProblem{"its keys belong to no known format"};
}

}  // namespace

RecordFormat recognise_format(const json& row) {
  if (!row.is_object()) return RecordFormat::kAuto;
  const auto has = [&](const char* key) { return row.contains(key) && !row[key].is_null(); };
  if (has("messages")) return RecordFormat::kOpenAi;
  if (has("conversations")) return RecordFormat::kShareGpt;
  if (has("question") && (has("options") || has("choices"))) return RecordFormat::kChoice;
  if (has("question") && has("A") && has("B") && has("answer")) return RecordFormat::kChoice;
  if (has("instruction") && has("output")) return RecordFormat::kAlpaca;
  if (has("question") && (has("answer") || has("answers"))) return RecordFormat::kQuestion;
  if (has("prompt") && has("completion")) return RecordFormat::kCompletion;
  if (has("instruction") && has("input")) return RecordFormat::kAlpaca;
  return has("text") ? RecordFormat::kText : RecordFormat::kAuto;
}

std::string turn_problem(const std::vector<Message>& turns) {
  std::string previous = "start";
  for (size_t i = 0; i < turns.size(); ++i) {
    const std::string& role = turns[i].role;
    const std::string position = "turn " + std::to_string(i + 1);
    if (is_blank(turns[i].content))
      return role == "assistant" ? "empty answer in " + position : "empty " + role + " text in " + position;
    const bool fits = role == "system"      ? i == 0
                      : role == "user"      ? previous == "start" || previous == "system" || previous == "assistant"
                      : role == "tool"      ? previous == "assistant" || previous == "tool"
                      : role == "assistant" ? previous == "user" || previous == "tool"
                                            : false;
    if (!fits) return position + " is of role " + role + " after " + previous + "; roles must alternate";
    previous = role;
  }
  if (previous == "start") return "no turns";
  return previous == "assistant" ? "" : "the last turn is of role " + previous + ", not of the assistant";
}

Result<Record> parse_row(const json& row, RecordFormat format, const FieldNames& names) {
  try {
    RowFields fields(row);
    Record record;
    parse_fields(fields, format, names, record);
    if (record.text.empty()) {
      if (const auto problem = turn_problem(record.turns); !problem.empty()) throw RowProblem{problem};
      if (record.answers.empty()) record.answers.push_back(record.turns.back().content);
    }
    take_source(fields, record);
    take_alpaca_input(record);
    return record;
  } catch (const RowProblem& problem) {
    return Result<Record>::failure(problem.reason);
  } catch (const json::exception& error) {  // a value of another type than the format says
    return Result<Record>::failure(excerpt(error.what(), 160));
  }
}

}  // namespace graft::data
