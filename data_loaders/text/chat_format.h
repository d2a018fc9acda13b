#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data_loaders/text/token_sample.h"
#include "data_loaders/text/tokenizer.h"

namespace graft::data {

struct Message {
  std::string role;  ///< system, user, assistant or tool
  std::string content;
};

struct ChatOptions {
  /// Qwen3 only. Off: the empty think block belongs to the prompt, in training and in generation; reasoning in the data is dropped.
  /// On: the model writes the block itself, so it is learnt. Train and generate with the same choice.
  bool thinking = false;
  /// Stands in where a dialogue has no system message; empty text: no system message. Not set: the format's own.
  std::optional<std::string> default_system;
};

/// A stretch of the rendered dialogue.
struct ChatPiece {
  std::string text;
  SpecialText special = SpecialText::kParse;  ///< kPlain: message content, in which a spelled-out marker stays text
  bool learn = false;                         ///< an answer or the mark that ends it
};

enum class ChatFamily { kChatMl, kLlama3, kMistral, kGemma, kQwen3, kAlpaca, kPlain };

/// How a model family writes a dialogue down.
struct ChatFormat {
  std::string name;
  ChatFamily family = ChatFamily::kPlain;
  std::string default_system;   ///< put in where a dialogue has no system message; empty: none
  std::string system_preamble;  ///< Llama 3.1 and later: stands before every system message, even an absent one
  bool tool_as_user = false;    ///< ChatML: tool results are written as user messages between <tool_response> tags
  struct Instruction {
    std::string open = "[INST] ", close = " [/INST]", answer;  ///< Mistral: around the question and before the answer
  } instruction;
  std::vector<std::string> stop_markers;  ///< tokens that end an answer, besides the tokenizer's own end token
};

/// By name: chatml, llama3, mistral, gemma, qwen3, alpaca, plain. Throws InvalidArgument naming the known and the nearest.
const ChatFormat& chat_format(std::string_view name);
std::vector<std::string> chat_format_names();

/// From the tokenizer's chat template and, where it has none, its vocabulary; takes over the template's own default system message.
/// Throws InvalidArgument that lists the known formats if neither tells.
ChatFormat recognise_chat_format(const Tokenizer& tokenizer);

enum class GenerationPrompt { kNone, kAdd };  ///< kAdd: ends where the model's next answer begins

/// The dialogue as pieces whose texts end to end are what the model's own template renders; begin and end tokens are spelled out.
/// Throws InvalidArgument for an empty dialogue, an unknown role or an order that the format cannot write.
std::vector<ChatPiece> render_chat(const Tokenizer& tokenizer, const ChatFormat& format, std::span<const Message> messages,
                                   const ChatOptions& options = {}, GenerationPrompt prompt = GenerationPrompt::kNone);

/// The same as ids, and what is to be learnt: every answer and its end mark. Ordinary text gets the ids that the model's own
/// template would give. With Qwen3 thinking on, only the last answer is learnt: in earlier ones the thoughts are gone.
TokenSample encode_chat(const Tokenizer& tokenizer, const ChatFormat& format, std::span<const Message> messages,
                        const ChatOptions& options = {}, GenerationPrompt prompt = GenerationPrompt::kNone);

/// Ids at which generation stops, without duplicates.
std::vector<TokenId> stop_tokens(const Tokenizer& tokenizer, const ChatFormat& format);

}  // namespace graft::data
