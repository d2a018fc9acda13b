// The smallest program around load_tokenizer, for the comparison with the Python libraries.
// tokenize_probe MODEL FILE           one JSON array of ids for each line of FILE
// tokenize_probe MODEL FILE --decode  FILE holds such lines; one JSON string for each
// tokenize_probe FOLDER --write-clip WORD...  writes a small CLIP tokenizer
// tokenize_probe MODEL FILE --chat    FILE holds objects {messages, format?, thinking?, prompt?}; one object {text, ids, learn} for each
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data_loaders/text/chat_format.h"
#include "data_loaders/text/clip_tokenizer_writer.h"
#include "data_loaders/text/tokenize_lines.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"

namespace {

using nlohmann::json;
using namespace graft::data;

json chat(const Tokenizer& tokenizer, const json& row) {
  const auto format = row.contains("format") ? chat_format(row["format"].get<std::string>()) : recognise_chat_format(tokenizer);
  std::vector<Message> messages;
  for (const auto& message : row["messages"]) messages.push_back({message["role"], message["content"]});
  const ChatOptions options{.thinking = row.value("thinking", false)};
  const auto prompt = row.value("prompt", false) ? GenerationPrompt::kAdd : GenerationPrompt::kNone;
  std::string text;
  for (const auto& piece : render_chat(tokenizer, format, messages, options, prompt)) text += piece.text;
  const auto sample = encode_chat(tokenizer, format, messages, options, prompt);
  return {{"format", format.name}, {"text", text}, {"ids", sample.ids}, {"learn", sample.learn}};
}

void run(const Tokenizer& tokenizer, const std::string& text, const std::string& job) {
  if (job.empty()) return tokenize_lines(tokenizer, text, std::cout);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const json row = json::parse(line);
    const json out = job == "--chat" ? chat(tokenizer, row) : json(tokenizer.decode(row.get<std::vector<TokenId>>()));
    std::cout << out.dump() << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  try {
    if (argv[2] == std::string("--write-clip")) {
      const std::vector<std::string> words(argv + 3, argv + argc);
      write_small_clip_tokenizer(argv[1], words);
      return 0;
    }
    run(*load_tokenizer(argv[1]), graft::read_file(argv[2]), argc > 3 ? argv[3] : "");
    return 0;
  } catch (const graft::Error& error) {
    std::cerr << error.what() << '\n';
    return error.exit_code();
  }
}
