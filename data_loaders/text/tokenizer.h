#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace graft::data {

using TokenId = int32_t;

/// Whether special tokens spelled out in the text become their single ids, or stay ordinary text.
enum class SpecialText { kParse, kPlain };

struct TextPart {
  std::string_view text;
  SpecialText special = SpecialText::kParse;
};

/// Text to ids and back; the same ids as the Hugging Face library gives for the same files. Thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// No begin or end token is added. Bytes that form no valid UTF-8 count as U+FFFD. Characters that the vocabulary cannot spell
  /// become the unknown token; without one they are left out, as in the Hugging Face library.
  virtual std::vector<TokenId> encode(std::string_view text, SpecialText special = SpecialText::kParse) const = 0;
  /// The parts end to end as one text; special tokens are recognised only where they touch no kPlain part.
  virtual std::vector<TokenId> encode_parts(std::span<const TextPart> parts) const {
    std::vector<TokenId> ids;
    for (const auto& part : parts) {
      const auto more = encode(part.text, part.special);
      ids.insert(ids.end(), more.begin(), more.end());
    }
    return ids;
  }
  /// Bytes that form no valid UTF-8 become U+FFFD. Ids outside the vocabulary throw InvalidArgument.
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special = false) const = 0;

  virtual int64_t vocabulary_size() const = 0;  ///< largest id + 1, added tokens included
  virtual std::optional<TokenId> id_of(std::string_view token) const = 0;  ///< a whole vocabulary or added token
  virtual bool is_special(TokenId id) const = 0;

  struct Specials {
    std::optional<TokenId> bos, eos, unk, pad;
    bool add_bos = false;       ///< the model's files ask for a begin token before every text
    bool add_eos = false;
    std::string chat_template;  ///< the Jinja text of the model's files; empty if none
  };
  const Specials& specials() const { return specials_; }

 protected:
  Specials specials_;
};

/// From a Hugging Face folder (`tokenizer.json`, else `tokenizer.model`, else CLIP's `vocab.json` with `merges.txt` or OpenAI's
/// `bpe_simple_vocab_16e6.txt.gz`; `tokenizer_config.json`, `special_tokens_map.json`, `chat_template.jinja` where present), or a single
/// `*.json`, `*.model` (SentencePiece or tiktoken), `*.gguf` or `*.txt.gz` (OpenAI's list of CLIP merges) file by itself.
/// Throws IoError or InvalidArgument naming the file and, for an unsupported part, its type and the supported ones.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path);

}  // namespace graft::data
