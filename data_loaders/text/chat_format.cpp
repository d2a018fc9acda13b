#include "data_loaders/text/chat_format.h"

#include <algorithm>

#include "data_loaders/text/unicode_text.h"
#include "kernels/base/error.h"
#include "peft_core/base/text_distance.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {
namespace {

const std::vector<ChatFormat>& formats() {
  static const std::vector<ChatFormat> table = {
      {.name = "chatml", .family = ChatFamily::kChatMl, .stop_markers = {"<|im_end|>", "<|endoftext|>"}},
      {.name = "llama3", .family = ChatFamily::kLlama3, .stop_markers = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"}},
      {.name = "mistral", .family = ChatFamily::kMistral},
      {.name = "gemma", .family = ChatFamily::kGemma, .stop_markers = {"<end_of_turn>"}},
      {.name = "qwen3", .family = ChatFamily::kQwen3, .stop_markers = {"<|im_end|>", "<|endoftext|>"}},
      {.name = "alpaca",
       .family = ChatFamily::kAlpaca,
       .default_system = "Below is an instruction that describes a task. Write a response that appropriately completes the request."},
      {.name = "plain", .family = ChatFamily::kPlain},
  };
  return table;
}

bool holds(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// The inside of a Jinja string literal.
std::string unescaped(std::string_view literal) {
  std::string out;
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      out += literal[i];
      continue;
    }
    const char next = literal[++i];
    out += next == 'n' ? '\n' : next == 't' ? '\t' : next;
  }
  return out;
}

// The system message that a ChatML template puts in by itself: the one written out whole between its marks.
std::string own_system_message(std::string_view text) {
  constexpr std::string_view kOpen = "<|im_start|>system", kClose = "<|im_end|>";
  for (size_t at = text.find(kOpen); at != std::string_view::npos; at = text.find(kOpen, at + 1)) {
    const std::string_view rest = text.substr(at + kOpen.size());
    const size_t line_break = rest.starts_with("\\n") ? 2 : rest.starts_with('\n') ? 1 : 0;
    const size_t end = rest.find(kClose);
    if (line_break == 0 || end == std::string_view::npos || end < line_break) continue;
    const std::string_view message = rest.substr(line_break, end - line_break);
    const bool assembled = message.empty() || message[0] == '\'' || message[0] == '"' || holds(message, "{{") ||
                           holds(message, "}}") || holds(message, "%}");
    if (!assembled) return unescaped(message);
  }
  return {};
}

// The string literal of a template in which `mark` stands; `fallback` if it stands in none.
std::string literal_around(std::string_view text, std::string_view mark, const std::string& fallback) {
  const size_t at = text.find(mark);
  if (at == std::string_view::npos) return fallback;
  const size_t open = text.find_last_of("'\"", at);
  if (open == std::string_view::npos) return fallback;
  const size_t close = text.find(text[open], at + mark.size());
  if (close == std::string_view::npos || close - open > 40) return fallback;
  return unescaped(text.substr(open + 1, close - open - 1));
}

ChatFormat mistral_of(std::string_view text) {
  ChatFormat format = chat_format("mistral");
  auto& instruction = format.instruction;
  instruction.open = literal_around(text, "[INST]", instruction.open);
  instruction.close = literal_around(text, "[/INST]", instruction.close);
  for (const char* spaced : {"\" \" + message[\"content\"]", "' ' + message['content']", "\" \" + content", "' ' + content"})
    if (holds(text, spaced)) instruction.answer = std::string(1, ' ');
  return format;
}

ChatFormat llama3_of(std::string_view text) {
  ChatFormat format = chat_format("llama3");
  // The date is the template's own fallback, so that the same data gives the same ids on any day.
  if (holds(text, "Cutting Knowledge Date: December 2023"))
    format.system_preamble = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
  return format;
}

std::optional<ChatFormat> from_template(std::string_view text) {
  if (holds(text, "<|im_start|>")) {
    if (holds(text, "enable_thinking") || holds(text, "reasoning_content")) return chat_format("qwen3");
    ChatFormat format = chat_format("chatml");
    format.default_system = own_system_message(text);
    format.tool_as_user = holds(text, "<tool_response>");
    return format;
  }
  if (holds(text, "<|start_header_id|>")) return llama3_of(text);
  if (holds(text, "<start_of_turn>")) return chat_format("gemma");
  if (holds(text, "[INST]") && !holds(text, "<<SYS>>")) return mistral_of(text);
  if (holds(text, "### Instruction:")) return chat_format("alpaca");
  return std::nullopt;
}

std::optional<ChatFormat> from_vocabulary(const Tokenizer& tokenizer) {
  if (tokenizer.id_of("<|im_start|>")) return chat_format(tokenizer.id_of("<think>") ? "qwen3" : "chatml");
  if (tokenizer.id_of("<|start_header_id|>")) return chat_format("llama3");
  if (tokenizer.id_of("<start_of_turn>")) return chat_format("gemma");
  return std::nullopt;
}

}  // namespace

std::vector<std::string> chat_format_names() {
  std::vector<std::string> names;
  for (const auto& format : formats()) names.push_back(format.name);
  return names;
}

const ChatFormat& chat_format(std::string_view name) {
  for (const auto& format : formats())
    if (format.name == name) return format;
  throw InvalidArgument({.where = "data.template", .what = "unknown chat format " + formats::shown(name), .hint = suggest(name, chat_format_names())});
}

ChatFormat recognise_chat_format(const Tokenizer& tokenizer) {
  const std::string& text = tokenizer.specials().chat_template;
  const auto found = text.empty() ? from_vocabulary(tokenizer) : from_template(text);
  if (found) return *found;
  throw InvalidArgument({.where = "data.template",
                         .what = text.empty() ? "the model's files name no chat format" : "the model's chat template is of no known format",
                         .hint = "choose one with --set data.template=NAME; known: " + join(chat_format_names())});
}

std::vector<TokenId> stop_tokens(const Tokenizer& tokenizer, const ChatFormat& format) {
  std::vector<TokenId> ids;
  const auto add = [&](const std::optional<TokenId>& id) {
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  };
  add(tokenizer.specials().eos);
  for (const auto& marker : format.stop_markers) add(tokenizer.id_of(marker));
  return ids;
}

}  // namespace graft::data
