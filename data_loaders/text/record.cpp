#include "data_loaders/text/record.h"

#include <array>

#include "kernels/base/error.h"

namespace graft::data {
namespace {

struct FormatName {
  RecordFormat format;
  std::string_view name;
  std::string_view keys;
};

constexpr std::array kFormats{
    FormatName{RecordFormat::kAuto, "auto", "recognised from the keys"},
    FormatName{RecordFormat::kAlpaca, "alpaca", "instruction, input, output"},
    FormatName{RecordFormat::kShareGpt, "sharegpt", "conversations of from, value"},
    FormatName{RecordFormat::kOpenAi, "openai", "messages of role, content"},
    FormatName{RecordFormat::kCompletion, "completion", "prompt, completion"},
    FormatName{RecordFormat::kQuestion, "squad", "question, answer or answers, context"},
    FormatName{RecordFormat::kChoice, "choice", "question, choices or options, answer"},
    FormatName{RecordFormat::kText, "text", "text"},
};

std::string options_text(const Record& record, const std::vector<int>& order) {
  std::string text;
  for (size_t shown = 0; shown < record.choices.size(); ++shown) {
    const size_t original = order.empty() ? shown : static_cast<size_t>(order.at(shown));
    text += "\n";
    text += static_cast<char>('A' + shown);
    text += ". " + record.choices.at(original);
  }
  return text;
}

}  // namespace

std::string_view name_of(RecordFormat format) {
  for (const auto& known : kFormats) {
    if (known.format == format) return known.name;
  }
  return "?";
}

std::string known_formats() {
  std::string line = "one of ";
  for (const auto& known : kFormats) {
    if (&known != kFormats.data()) line += ", ";
    line.append(known.name).append(" (").append(known.keys).append(")");
  }
  return line;
}

RecordFormat record_format(std::string_view name) {
  for (const auto& known : kFormats) {
    if (known.name == name) return known.format;
  }
  throw InvalidArgument({.where = "data.format",
                         .what = "unknown data format",
                         .expected = known_formats(),
                         .got = "\"" + std::string(name) + "\""});
}

std::string_view question_of(const Record& record) {
  if (!record.question.empty()) return record.question;
  for (auto turn = record.turns.rbegin(); turn != record.turns.rend(); ++turn) {
    if (turn->role == "user") return turn->content;
  }
  return record.text;
}

std::string_view answer_of(const Record& record) {
  return record.turns.empty() ? std::string_view() : std::string_view(record.turns.back().content);
}

std::string place_of(const Record& record) { return record.file.string() + ":" + std::to_string(record.line); }

std::string question_prompt(const Record& record, const std::vector<int>& order) {
  std::string body = record.context;
  if (!body.empty()) body += "\n\n";
  body += record.question + options_text(record, order);
  if (record.instruction.empty()) return body;
  if (const auto hole = record.instruction.find("{}"); hole != std::string::npos) {
    return record.instruction.substr(0, hole) + body + record.instruction.substr(hole + 2);
  }
  return record.instruction + "\n" + body;
}

}  // namespace graft::data
