#include <algorithm>

#include "data_loaders/text/chat_format.h"
#include "data_loaders/text/unicode_text.h"
#include "kernels/base/error.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {
namespace {

// What Jinja's trim takes off: Python's idea of white space.
std::string trimmed(std::string_view text) {
  const auto blank = [](char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); };
  const std::string valid = valid_utf8(text);
  std::string_view view = valid;
  while (!view.empty() && blank(code_point_at(view, 0))) view.remove_prefix(character_length(view, 0));
  while (!view.empty()) {
    const size_t last = character_begin_before(view, view.size());
    if (!blank(code_point_at(view, last))) break;
    view = view.substr(0, last);
  }
  return std::string(view);
}

std::string_view without_line_breaks(std::string_view text, bool left, bool right) {
  while (left && text.starts_with('\n')) text.remove_prefix(1);
  while (right && text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

class Renderer {
 public:
  Renderer(const Tokenizer& tokenizer, const ChatFormat& format, std::span<const Message> messages, const ChatOptions& options,
           GenerationPrompt prompt)
      : tokenizer_(tokenizer), format_(format), messages_(messages), options_(options), prompt_(prompt) {}

  std::vector<ChatPiece> run() {
    check();
    switch (format_.family) {
      case ChatFamily::kChatMl: chat_ml(); break;
      case ChatFamily::kLlama3: llama3(); break;
      case ChatFamily::kMistral: mistral(); break;
      case ChatFamily::kGemma: gemma(); break;
      case ChatFamily::kQwen3: qwen3(); break;
      case ChatFamily::kAlpaca: alpaca(); break;
      case ChatFamily::kPlain: plain(); break;
    }
    return std::move(pieces_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what, const std::string& got = {}) const {
    throw InvalidArgument({.where = "chat format " + format_.name, .what = what, .got = got.empty() ? got : formats::shown(got)});
  }

  void check() const {
    if (messages_.empty()) refuse("the dialogue is empty");
    for (const auto& message : messages_) {
      const auto& role = message.role;
      if (role != "system" && role != "user" && role != "assistant" && role != "tool")
        refuse("unknown role; known: system, user, assistant, tool", role);
    }
  }

  void mark(const std::string& text, bool learn = false) { add(text, SpecialText::kParse, learn); }
  void content(std::string_view text, bool learn = false) { add(text, SpecialText::kPlain, learn); }
  void add(std::string_view text, SpecialText special, bool learn) {
    if (!text.empty()) pieces_.push_back({std::string(text), special, learn});
  }

  std::string spelled(const std::optional<TokenId>& id) const {
    return id ? tokenizer_.decode({&*id, 1}) : std::string();
  }
  void begin_token() { mark(spelled(tokenizer_.specials().bos)); }
  void end_token(bool learn) {
    if (!tokenizer_.specials().eos) refuse("the tokenizer names no end token");
    mark(spelled(tokenizer_.specials().eos), learn);
  }

  bool prompts() const { return prompt_ == GenerationPrompt::kAdd; }
  bool has_system() const { return messages_.front().role == "system"; }
  std::string default_system() const { return options_.default_system.value_or(format_.default_system); }
  std::string system_text() const { return has_system() ? messages_.front().content : default_system(); }
  std::span<const Message> turns() const { return has_system() ? messages_.subspan(1) : messages_; }

  // For formats that know questions and answers only.
  void expect_alternation() const {
    if (turns().empty()) refuse("the dialogue holds only a system message");
    for (size_t i = 0; i < turns().size(); ++i) {
      const std::string expected = i % 2 == 0 ? "user" : "assistant";
      if (turns()[i].role != expected) refuse("messages must alternate between user and assistant, beginning with user", turns()[i].role);
    }
  }

  void chat_ml_message(const std::string& role, const std::string& text) {
    const bool answer = role == "assistant";
    mark("<|im_start|>" + role + "\n");
    content(text, answer);
    mark("<|im_end|>", answer);
    mark("\n");
  }

  // Results that follow each other share one user message.
  void tool_message(size_t i) {
    if (i == 0 || messages_[i - 1].role != "tool") mark("<|im_start|>user");
    mark("\n<tool_response>\n");
    content(messages_[i].content);
    mark("\n</tool_response>");
    if (i + 1 == messages_.size() || messages_[i + 1].role != "tool") mark("<|im_end|>\n");
  }

  void chat_ml() {
    if (!has_system() && !default_system().empty()) chat_ml_message("system", default_system());
    for (size_t i = 0; i < messages_.size(); ++i) {
      if (messages_[i].role == "tool" && format_.tool_as_user) {
        tool_message(i);
      } else {
        chat_ml_message(messages_[i].role, messages_[i].content);
      }
    }
    if (prompts()) mark("<|im_start|>assistant\n");
  }

  // The last question; tool results that came as user messages are none.
  size_t last_question() const {
    for (size_t i = messages_.size(); i-- > 0;) {
      const auto& m = messages_[i];
      if (m.role == "user" && !(m.content.starts_with("<tool_response>") && m.content.ends_with("</tool_response>"))) return i;
    }
    return messages_.size() - 1;
  }

  void qwen3() {
    const size_t question = last_question();
    if (!has_system() && !default_system().empty()) chat_ml_message("system", default_system());
    for (size_t i = 0; i < messages_.size(); ++i) {
      const auto& message = messages_[i];
      if (message.role == "tool") {
        tool_message(i);
      } else if (message.role == "assistant") {
        qwen3_answer(message.content, i > question, i + 1 == messages_.size());
      } else {
        chat_ml_message(message.role, message.content);
      }
    }
    if (!prompts()) return;
    mark("<|im_start|>assistant\n");
    if (!options_.thinking) mark("<think>\n\n</think>\n\n");
  }

  void qwen3_answer(std::string_view text, bool current, bool last) {
    std::string_view thoughts, answer = text;
    constexpr std::string_view kOpen = "<think>", kClose = "</think>";
    if (const size_t first = text.find(kClose); first != std::string_view::npos) {
      thoughts = without_line_breaks(text.substr(0, first), false, true);
      if (const size_t open = thoughts.rfind(kOpen); open != std::string_view::npos) thoughts.remove_prefix(open + kOpen.size());
      thoughts = without_line_breaks(thoughts, true, true);
      answer = without_line_breaks(text.substr(text.rfind(kClose) + kClose.size()), true, false);
    }
    const bool learn = current || !options_.thinking;
    mark("<|im_start|>assistant\n");
    if (current && !options_.thinking) {
      if (last || !thoughts.empty()) mark("<think>\n\n</think>\n\n");
    } else if (current && (last || !thoughts.empty())) {
      mark("<think>\n", learn);
      content(thoughts, learn);
      mark("\n</think>\n\n", learn);
    }
    content(current && (last || !thoughts.empty()) ? without_line_breaks(answer, true, false) : answer, learn);
    mark("<|im_end|>", learn);
    mark("\n");
  }

  void llama3_message(const std::string& role, std::string_view preamble, std::string_view text) {
    const bool answer = role == "assistant";
    mark("<|start_header_id|>" + role + "<|end_header_id|>\n\n");
    content(std::string(preamble) + trimmed(text), answer);
    mark("<|eot_id|>", answer);
  }

  void llama3() {
    begin_token();
    if (has_system() || !default_system().empty() || !format_.system_preamble.empty())
      llama3_message("system", format_.system_preamble, system_text());
    for (const auto& message : turns()) llama3_message(message.role == "tool" ? "ipython" : message.role, "", message.content);
    if (prompts()) mark("<|start_header_id|>assistant<|end_header_id|>\n\n");
  }

  void mistral() {
    expect_alternation();
    begin_token();
    bool first = true;
    for (const auto& message : turns()) {
      if (message.role == "assistant") {
        content(format_.instruction.answer + message.content, true);
        end_token(true);
        continue;
      }
      mark(format_.instruction.open);
      if (first && !system_text().empty()) content(system_text() + "\n\n");
      first = false;
      content(message.content);
      mark(format_.instruction.close);
    }
  }

  void gemma() {
    expect_alternation();
    begin_token();
    bool first = true;
    for (const auto& message : turns()) {
      const bool answer = message.role == "assistant";
      mark(answer ? "<start_of_turn>model\n" : "<start_of_turn>user\n");
      if (first && !system_text().empty()) content(system_text() + "\n\n");
      first = false;
      content(trimmed(message.content), answer);
      mark("<end_of_turn>", answer);
      mark("\n");
    }
    if (prompts()) mark("<start_of_turn>model\n");
  }

  void alpaca() {
    expect_alternation();
    if (tokenizer_.specials().add_bos) begin_token();
    if (!system_text().empty()) content(system_text() + "\n\n");
    bool first = true;
    for (const auto& message : turns()) {
      if (message.role == "assistant") {
        content(message.content, true);
        end_token(true);
        continue;
      }
      mark(first ? "### Instruction:\n" : "\n\n### Instruction:\n");
      first = false;
      content(message.content);
      mark("\n\n### Response:\n");
    }
  }

  void plain() {
    // A text to go on from begins as the model's own texts do; a text to learn gets its end token and nothing else.
    if (prompts() && tokenizer_.specials().add_bos) begin_token();
    for (const auto& message : messages_) {
      const bool answer = message.role == "assistant";
      content(message.content, answer);
      if (answer) end_token(true);
    }
    if (!prompts() && messages_.back().role != "assistant") end_token(false);
  }

  const Tokenizer& tokenizer_;
  const ChatFormat& format_;
  std::span<const Message> messages_;
  const ChatOptions& options_;
  GenerationPrompt prompt_;
  std::vector<ChatPiece> pieces_;
};

// How many ids of the whole dialogue spell its first `parts`. Encoded alone, these may end in other ids than within the whole (a
// line break or space is cut differently where the text ends), so behind the ids that both share the spelling decides.
size_t ids_spelling(std::span<const TextPart> parts, const Tokenizer& tokenizer, std::span<const TokenId> whole) {
  const auto alone = tokenizer.encode_parts(parts);
  const auto shared = static_cast<size_t>(std::mismatch(alone.begin(), alone.end(), whole.begin(), whole.end()).first - alone.begin());
  const auto rest = std::span(alone).subspan(shared);
  if (rest.empty()) return shared;
  const std::string text = tokenizer.decode(rest);
  constexpr size_t kLookAhead = 8;  // a character may be spelt by several ids, and each spelling of the rest may need more than the other
  const size_t last = std::min(whole.size(), shared + 4 * rest.size() + kLookAhead);
  size_t best = shared;
  for (size_t end = shared + 1; end <= last; ++end)
    if (text.starts_with(tokenizer.decode(whole.subspan(shared, end - shared)))) best = end;
  return best;
}

}  // namespace

std::vector<ChatPiece> render_chat(const Tokenizer& tokenizer, const ChatFormat& format, std::span<const Message> messages,
                                   const ChatOptions& options, GenerationPrompt prompt) {
  return Renderer(tokenizer, format, messages, options, prompt).run();
}

TokenSample encode_chat(const Tokenizer& tokenizer, const ChatFormat& format, std::span<const Message> messages,
                        const ChatOptions& options, GenerationPrompt prompt) {
  const auto pieces = render_chat(tokenizer, format, messages, options, prompt);
  std::vector<TextPart> parts;
  for (const auto& piece : pieces) parts.push_back({piece.text, piece.special});
  TokenSample sample{tokenizer.encode_parts(parts), {}};
  sample.learn.assign(sample.ids.size(), 0);
  size_t begin = 0;
  // Note [Borders]: the whole is encoded as one text, as the model's template would have it. A token that spans the border between
  // question and answer, such as line breaks on both sides of it, counts as the answer's.
  const auto border = [&](size_t piece) {
    return piece == pieces.size() ? sample.ids.size() : ids_spelling(std::span(parts).first(piece), tokenizer, sample.ids);
  };
  for (size_t i = 0; i < pieces.size(); ++i) {
    const bool before = i > 0 && pieces[i - 1].learn;
    if (pieces[i].learn && !before) begin = border(i);
    if (!pieces[i].learn) continue;
    if (i + 1 < pieces.size() && pieces[i + 1].learn) continue;
    std::fill(sample.learn.begin() + static_cast<std::ptrdiff_t>(begin), sample.learn.begin() + static_cast<std::ptrdiff_t>(border(i + 1)), uint8_t{1});
  }
  return sample;
}

}  // namespace graft::data
