#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "data_loaders/text/chat_format.h"

namespace graft::data {

inline bool operator==(const Message& a, const Message& b) { return a.role == b.role && a.content == b.content; }

/// The row shapes that are understood.
enum class RecordFormat { kAuto, kAlpaca, kShareGpt, kOpenAi, kCompletion, kQuestion, kChoice, kText };

/// "auto", "alpaca", "sharegpt", "openai", "completion", "squad", "choice", "text".
std::string_view name_of(RecordFormat format);
/// Throws InvalidArgument that lists the known names and their keys.
RecordFormat record_format(std::string_view name);
/// "one of auto (...), alpaca (instruction, input, output), ...", for messages.
std::string known_formats();

/// One training or evaluation item, whatever file it came from. All text is valid UTF-8 in NFC without a byte order
/// mark. Either `text` is set (a document to model as it stands) or `turns` (a dialogue that ends with the assistant).
struct Record {
  std::vector<Message> turns;
  std::string text;

  std::string instruction;           ///< task text before the question; `{}` in it marks the question's place
  std::string question;              ///< question alone, without options and context; empty for plain dialogues
  std::string context;               ///< passage to read
  std::string input;                 ///< Alpaca's second field, which is also the end of the user turn
  std::vector<std::string> choices;  ///< option texts; option 0 is A
  std::string gold;                  ///< right letters in alphabetical order, e.g. "AD"
  std::vector<std::string> answers;  ///< right answers, for exact match and F1

  std::string id;
  std::string source;  ///< document that the row was made from; rows of one source stay in one split
  std::map<std::string, std::string> meta;  ///< unknown keys; values as JSON text

  std::filesystem::path file;
  int64_t line = 0;  ///< in the file, from 1
  int64_t row = 0;   ///< index among the file's rows, from 1
};

/// The question as a person would quote it: `question`, else the last user turn, else the text.
std::string_view question_of(const Record& record);
/// The last assistant turn; empty for documents.
std::string_view answer_of(const Record& record);
/// "file:line", for messages.
std::string place_of(const Record& record);

/// The user turn of a question: instruction, context, question and lettered options in the order given (option order[0]
/// is shown as A); an empty order means the file's own.
std::string question_prompt(const Record& record, const std::vector<int>& order = {});

}  // namespace graft::data
