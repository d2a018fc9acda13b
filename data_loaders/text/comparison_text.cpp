#include "data_loaders/text/comparison_text.h"

#include <algorithm>

#include "data_loaders/text/option_text.h"
#include "data_loaders/text/word_tokens.h"

namespace graft::data {
namespace {

std::string with_sorted_options(std::string_view stem, const std::vector<std::string>& choices) {
  std::vector<std::string> forms;
  for (const auto& choice : choices) forms.push_back(comparison_form(choice));
  std::sort(forms.begin(), forms.end());
  std::string form = comparison_form(stem);
  for (const auto& choice : forms) form += " " + choice;
  return form;
}

}  // namespace

std::string question_form(const Record& record) {
  if (!record.choices.empty()) return with_sorted_options(record.question, record.choices);
  const std::string_view question = question_of(record);
  if (record.turns.empty()) return comparison_form(question);
  if (const auto inside = split_options(question)) return with_sorted_options(inside->stem, inside->choices);
  return comparison_form(question);
}

std::string whole_form(const Record& record) {
  std::string form = question_form(record);
  if (!record.choices.empty()) {
    for (const char letter : record.gold)
      form += " " + comparison_form(record.choices.at(static_cast<size_t>(letter - 'A')));
  } else if (!record.question.empty()) {
    for (const auto& answer : record.answers) form += " " + comparison_form(answer);
  } else if (record.turns.size() > 0) {
    for (const auto& turn : record.turns) {
      const bool is_the_question = &turn == &record.turns[record.turns.size() - 2];
      if (turn.role != "system" && !is_the_question) form += " " + comparison_form(turn.content);
    }
  }
  return form;
}

std::string full_text(const Record& record) {
  std::string text = record.text;
  for (const auto& turn : record.turns) text += turn.content + "\n";
  return text;
}

}  // namespace graft::data
