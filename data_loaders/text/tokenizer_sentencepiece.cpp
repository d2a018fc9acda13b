#include <sentencepiece_processor.h>

#include <algorithm>

#include "data_loaders/text/pipeline_tokenizer.h"
#include "data_loaders/text/sentencepiece_check.h"
#include "data_loaders/text/tokenizer_readers.h"
#include "data_loaders/text/unicode_text.h"
#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/text_distance.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {
namespace {

constexpr std::string_view kSpace = "\u2581";

enum class SpecialRule {
  kWholePart,  // as the library itself: never within a text, only as one of several parts that is nothing but a control piece
  kLegacy,     // transformers, legacy: every stretch between special tokens begins with a space
  kPrefixed,   // transformers, legacy = false: only the text as a whole does
};

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::filesystem::path& file, const TokenizerConfig& config);

  std::vector<TokenId> encode(std::string_view text, SpecialText special) const override {
    const TextPart part{text, special};
    return encode_parts({&part, 1});
  }
  std::vector<TokenId> encode_parts(std::span<const TextPart> parts) const override;
  std::string decode(std::span<const TokenId> ids, bool skip_special) const override;
  int64_t vocabulary_size() const override { return size_; }
  std::optional<TokenId> id_of(std::string_view token) const override;
  bool is_special(TokenId id) const override;

 private:
  void load(const TokenizerConfig& config);
  void encode_plain(std::string_view text, std::vector<TokenId>& out) const;
  void encode_prefixed(std::string_view text, std::vector<TokenId>& out) const;
  bool is_named(TokenId id) const { return std::find(named_.begin(), named_.end(), id) != named_.end(); }
  std::string decode_run(std::span<const TokenId> ids) const;
  std::string decode_pieces(const std::vector<std::string>& pieces) const;

  std::string where_;
  SpecialRule rule_ = SpecialRule::kWholePart;
  bool prefix_space_ = true;
  sentencepiece::SentencePieceProcessor processor_;
  AddedVocabulary added_;
  std::vector<TokenId> named_;  // begin, end, unknown and the other tokens that the config calls by a role
  std::string unk_text_;
  size_t unk_length_ = 0;  // ids that the library makes of unk_text_
  int64_t size_ = 0;
};

void expect_ok(const sentencepiece::util::Status& status, const std::string& where) {
  if (!status.ok()) throw IoError({.where = where, .what = "SentencePiece refuses: " + formats::shown(status.ToString())});
}

SentencePieceTokenizer::SentencePieceTokenizer(const std::filesystem::path& file, const TokenizerConfig& config) : where_(file.string()) {
  if (config.present) rule_ = config.legacy.value_or(true) ? SpecialRule::kLegacy : SpecialRule::kPrefixed;
  prefix_space_ = config.add_prefix_space.value_or(true);
  std::string model = read_file(file);
  check_sentencepiece_model(model, where_);
  // A second normaliser message is merged into the first: add_dummy_prefix = false, everything else as it was.
  if (rule_ == SpecialRule::kPrefixed) model += std::string("\x1A\x02\x18\x00", 4);
  expect_ok(processor_.LoadFromSerializedProto(model), where_);
  load(config);
}

void SentencePieceTokenizer::load(const TokenizerConfig& config) {
  const int pieces = processor_.GetPieceSize();
  std::vector<TokenEntry> entries;
  for (int id = 0; id < pieces; ++id) entries.push_back({processor_.IdToPiece(id), id});
  const TokenVocabulary vocabulary(std::move(entries), where_);
  TokenizerConfig named = config;
  const auto piece = [&](int id) { return id >= 0 && id < pieces ? std::optional(processor_.IdToPiece(id)) : std::nullopt; };
  if (!named.bos) named.bos = piece(processor_.bos_id());
  if (!named.eos) named.eos = piece(processor_.eos_id());
  if (!named.unk) named.unk = piece(processor_.unk_id());
  if (!named.pad) named.pad = piece(processor_.pad_id());
  std::vector<AddedToken> tokens;
  if (rule_ != SpecialRule::kWholePart) {
    for (const auto& name : {named.bos, named.eos, named.unk})
      if (name) named.named.push_back({.content = *name, .special = true});
    merge_added_tokens(named, vocabulary, tokens);
    specials_.add_bos = true;
  } else {
    for (int id = 0; id < pieces; ++id)
      if (processor_.IsControl(id)) tokens.push_back({.content = processor_.IdToPiece(id), .id = id, .special = true});
  }
  for (const auto& token : tokens)
    if (rule_ == SpecialRule::kWholePart || std::any_of(named.named.begin(), named.named.end(), [&](const auto& n) { return n.content == token.content; }))
      named_.push_back(token.id);
  for (auto& token : tokens) token.normalized = false;  // the slow tokenizers look for all of them in the raw text
  resolve_specials(named, tokens, vocabulary, specials_);
  size_ = pieces;
  for (const auto& token : tokens) size_ = std::max<int64_t>(size_, int64_t{token.id} + 1);
  added_ = AddedVocabulary(std::move(tokens), {});
  unk_text_ = processor_.IdToPiece(processor_.unk_id());
  std::vector<TokenId> ids;
  encode_plain(unk_text_, ids);
  unk_length_ = ids.size();
}

void SentencePieceTokenizer::encode_plain(std::string_view text, std::vector<TokenId>& out) const {
  std::vector<int> ids;
  const auto status = processor_.Encode(absl::string_view(text.data(), text.size()), &ids);
  if (!status.ok()) throw InvalidArgument({.where = where_, .what = "text cannot be encoded: " + formats::shown(status.ToString())});
  out.insert(out.end(), ids.begin(), ids.end());
}

// The library strips spaces at the beginning of a text, so something that is none is put there and its ids are dropped again.
void SentencePieceTokenizer::encode_prefixed(std::string_view text, std::vector<TokenId>& out) const {
  if (!text.starts_with(kSpace) && !text.starts_with(' ')) return encode_plain(text, out);
  std::vector<TokenId> ids;
  encode_plain(unk_text_ + std::string(text), ids);
  const size_t skip = ids.size() >= unk_length_ ? unk_length_ : 0;
  out.insert(out.end(), ids.begin() + static_cast<std::ptrdiff_t>(skip), ids.end());
}

std::vector<TokenId> SentencePieceTokenizer::encode_parts(std::span<const TextPart> parts) const {
  std::vector<TextPart> adapted(parts.begin(), parts.end());
  std::vector<std::string> rewritten;
  rewritten.reserve(parts.size());
  bool empty = true;
  for (auto& part : adapted) {
    empty = empty && part.text.empty();
    if (rule_ != SpecialRule::kPrefixed) continue;
    std::string text(part.text);
    replace_all(text, kSpace, " ");
    rewritten.push_back(std::move(text));
    part.text = rewritten.back();
  }
  if (rule_ == SpecialRule::kPrefixed && prefix_space_ && !empty) adapted.insert(adapted.begin(), {kSpace, SpecialText::kParse});
  const JoinedParts joined(adapted);
  const auto allowed = [&](size_t begin, size_t end) {
    return joined.special_allowed(begin, end) && (rule_ != SpecialRule::kWholePart || (parts.size() > 1 && joined.is_whole_part(begin, end)));
  };
  std::vector<TokenId> out;
  const auto segments = added_.split_raw(joined.text, allowed, /*mixed=*/false);
  for (size_t i = 0; i < segments.size(); ++i) {
    const std::string_view text = std::string_view(joined.text).substr(segments[i].begin, segments[i].end - segments[i].begin);
    const bool next_named = i + 1 < segments.size() && segments[i + 1].id >= 0 && is_named(segments[i + 1].id);
    if (segments[i].id >= 0) {
      out.push_back(segments[i].id);
    } else if (rule_ != SpecialRule::kPrefixed) {
      encode_plain(text, out);
    } else if (!(i == 0 && text == kSpace && next_named)) {
      encode_prefixed(text, out);
    }
  }
  return out;
}

std::string SentencePieceTokenizer::decode_pieces(const std::vector<std::string>& pieces) const {
  std::string text;
  const auto status = processor_.Decode(pieces, &text);
  if (!status.ok()) throw InvalidArgument({.where = where_, .what = "ids cannot be decoded: " + formats::shown(status.ToString())});
  return text;
}

// Pieces and named tokens. transformers writes named tokens as they are spelled, and the library decodes what lies between; in
// legacy mode a space comes in before the stretch that a named token ends.
std::string SentencePieceTokenizer::decode_run(std::span<const TokenId> ids) const {
  const bool library_only = rule_ == SpecialRule::kWholePart;
  std::string out;
  std::vector<std::string> pieces;
  bool after_named = false;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (is_named(ids[i])) {
      if (!after_named && i != 0 && rule_ == SpecialRule::kLegacy) out += ' ';
      out += decode_pieces(pieces) + added_.find(ids[i])->content;
      pieces.clear();
      after_named = true;
      continue;
    }
    std::string piece = processor_.IdToPiece(ids[i]);
    if (i == 0 && prefix_space_ && !library_only && piece.starts_with(kSpace)) piece.erase(0, kSpace.size());
    if (i == 1 && after_named && prefix_space_ && !library_only && !piece.starts_with(kSpace)) out += ' ';
    pieces.push_back(std::move(piece));
    after_named = false;
  }
  return out + decode_pieces(pieces);
}

// Added tokens without a role stand by themselves, with spaces around them: transformers' default for slow tokenizers.
std::string SentencePieceTokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::vector<std::string> texts;
  std::vector<TokenId> run;
  const auto end_run = [&] {
    if (auto text = decode_run(run); !text.empty()) texts.push_back(std::move(text));
    run.clear();
  };
  for (const TokenId id : ids) {
    expect_token_id(id, size_, where_);
    const AddedToken* added = added_.find(id);
    if (added == nullptr && id >= processor_.GetPieceSize()) continue;  // a hole in the numbering
    if (added != nullptr && added->special && skip_special) continue;
    if (added == nullptr || is_named(id)) {
      run.push_back(id);
      continue;
    }
    end_run();
    texts.push_back(added->content);
  }
  if (!run.empty()) texts.push_back(decode_run(run));  // empty or not: transformers looks at the text of earlier stretches only
  return valid_utf8(join(texts, " "));
}

std::optional<TokenId> SentencePieceTokenizer::id_of(std::string_view token) const {
  if (const auto* added = added_.find(token)) return added->id;
  const int id = processor_.PieceToId(absl::string_view(token.data(), token.size()));
  if (id == processor_.unk_id() && processor_.IdToPiece(id) != token) return std::nullopt;
  return id;
}

bool SentencePieceTokenizer::is_special(TokenId id) const {
  const auto* added = added_.find(id);
  return added != nullptr ? added->special : id >= 0 && id < processor_.GetPieceSize() && processor_.IsControl(id);
}

}  // namespace

std::shared_ptr<const Tokenizer> read_sentencepiece(const std::filesystem::path& file, const TokenizerConfig& config) {
  return std::make_shared<SentencePieceTokenizer>(file, config);
}

}  // namespace graft::data
