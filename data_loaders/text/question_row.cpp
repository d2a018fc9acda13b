#include "data_loaders/text/question_row.h"

#include <algorithm>

#include "data_loaders/text/clean_text.h"
#include "data_loaders/text/option_text.h"

namespace graft::data {
namespace {

using nlohmann::json;

struct Options {
  std::vector<std::string> labels, texts;
  void add(std::string label, std::string text) {
    labels.push_back(std::move(label));
    texts.push_back(std::move(text));
  }
};

std::vector<std::string> texts_of(const json& list, const std::string& name) {
  std::vector<std::string> texts;
  for (const auto& item : list) texts.push_back(text_of(item, name));
  return texts;
}

Options options_of(const json& value) {
  Options options;
  if (value.is_array()) {
    for (const auto& item : value) options.texts.push_back(item.is_null() ? "" : text_of(item, "choices"));
    options.labels = letter_labels(options.texts.size());
  } else if (value.contains("text") && value["text"].is_array()) {  // ARC's {"text": [...], "label": [...]}
    options.texts = texts_of(value["text"], "choices");
    options.labels = value.contains("label") && value["label"].is_array() ? texts_of(value["label"], "label")
                                                                          : letter_labels(options.texts.size());
  } else {
    for (const auto& [label, text] : value.items()) options.add(label, text.is_null() ? "" : text_of(text, "choices"));
  }
  if (options.labels.size() != options.texts.size()) throw RowProblem{"as many option labels as options are needed"};
  return options;
}

/// A to Z as columns of their own, as spreadsheets have them.
Options options_from_columns(RowFields& fields) {
  Options options;
  if (!fields.has("A") || !fields.has("B")) return options;
  for (char letter = 'A'; letter <= 'Z' && fields.has(std::string(1, letter)); ++letter) {
    options.add(std::string(1, letter), fields.text_or_empty(std::string(1, letter)));
  }
  return options;
}

void check(Options& options) {
  while (!options.texts.empty() && is_blank(options.texts.back())) {
    options.texts.pop_back();
    options.labels.pop_back();
  }
  if (options.texts.size() < 2) throw RowProblem{"fewer than two options"};
  if (options.texts.size() > 26) throw RowProblem{"more than 26 options"};
  for (const auto& text : options.texts) {
    if (is_blank(text)) throw RowProblem{"an empty option before a filled one"};
  }
}

/// The answer as text; a list is joined by commas, a number counts options from 0.
std::string answer_text(RowFields& fields, const Options& options, const std::string& key) {
  if (!fields.has(key)) throw RowProblem{"no field \"" + key + "\""};
  const auto label_of = [&](const json& value) {
    const std::string text = text_of(value, key);
    const bool is_label = std::find(options.labels.begin(), options.labels.end(), text) != options.labels.end();
    if (!value.is_number_integer() || is_label) return text;
    const auto index = value.get<int64_t>();
    if (index < 0 || index >= static_cast<int64_t>(options.labels.size()))
      throw RowProblem{"answer " + text + " names no option"};
    return options.labels[static_cast<size_t>(index)];
  };
  const json& value = fields.raw(key);
  if (!value.is_array()) return label_of(value);
  std::string joined;
  for (const auto& item : value) joined += (joined.empty() ? "" : ",") + label_of(item);
  return joined;
}

void take_gold(RowFields& fields, Options options, Record& record) {
  check(options);
  const std::string key = fields.has("answer") || !fields.has("answerKey") ? "answer" : "answerKey";
  auto gold = gold_letters(answer_text(fields, options, key), options.labels, options.texts);
  if (!gold) throw RowProblem{gold.reason()};
  record.gold = std::move(gold).value();
  record.choices = std::move(options.texts);
  std::string spoken;
  for (const char letter : record.gold) spoken += (spoken.empty() ? "" : ", ") + std::string(1, letter);
  record.answers = {spoken};
}

std::vector<std::string> answers_of(RowFields& fields) {
  std::vector<std::string> answers;
  const auto add = [&](const json& value) {
    auto text = text_of(value, "answers");
    if (!is_blank(text) && std::find(answers.begin(), answers.end(), text) == answers.end())
      answers.push_back(std::move(text));
  };
  if (!fields.has("answers")) {
    if (!fields.has("answer")) throw RowProblem{"neither \"answer\" nor \"answers\""};
    const json& value = fields.raw("answer");
    if (value.is_array())
      std::for_each(value.begin(), value.end(), add);
    else
      add(value);
    return answers;
  }
  const json& raw = fields.raw("answers");
  if (raw.is_string() && !raw.get_ref<const std::string&>().starts_with("[") &&
      !raw.get_ref<const std::string&>().starts_with("{")) {
    add(raw);
    return answers;
  }
  const auto list = fields.structure("answers");
  const json empty = json::array();
  const json& items = !list ? empty : list->is_object() ? (list->contains("text") ? (*list)["text"] : empty) : *list;
  if (!items.is_array()) throw RowProblem{"\"answers\" holds no list of texts"};
  for (const auto& item : items) {
    if (item.is_object() && !item.contains("text")) throw RowProblem{"an answer without \"text\""};
    add(item.is_object() ? item["text"] : item);
  }
  return answers;
}

bool looks_like_letters(RowFields& fields, size_t option_count) {
  if (!fields.has("answer") || !fields.raw("answer").is_string()) return false;
  const auto letters = letter_labels(option_count);
  return static_cast<bool>(gold_letters(fields.raw("answer").get_ref<const std::string&>(), letters, {}));
}

}  // namespace

void take_question(RowFields& fields, bool choices_required, Record& record) {
  record.question = fields.required_text("question");
  record.context = fields.text_or_empty("context");
  record.instruction = fields.text_or_empty("instruction");
  for (const auto* key : {"choices", "options"}) {
    if (const auto listed = fields.structure(key)) return take_gold(fields, options_of(*listed), record);
  }
  if (auto columns = options_from_columns(fields); !columns.texts.empty())
    return take_gold(fields, std::move(columns), record);
  auto inside = split_options(record.question);
  if (inside && (choices_required || looks_like_letters(fields, inside->choices.size()))) {
    record.question = inside->stem;
    Options options{letter_labels(inside->choices.size()), inside->choices};
    return take_gold(fields, std::move(options), record);
  }
  if (choices_required)
    throw RowProblem{"no options: neither \"choices\" nor \"options\" nor lines \"A. ...\" in the question"};
  record.answers = answers_of(fields);
  if (record.answers.empty()) throw RowProblem{"empty answer"};
}

void parse_question(RowFields& fields, bool choices_required, Record& record) {
  const std::string system = fields.text_or_empty("system");
  take_question(fields, choices_required, record);
  if (is_blank(record.question)) throw RowProblem{"empty question"};
  if (!is_blank(system)) record.turns.push_back({"system", system});
  record.turns.push_back({"user", question_prompt(record)});
  record.turns.push_back({"assistant", record.answers.front()});
}

}  // namespace graft::data
