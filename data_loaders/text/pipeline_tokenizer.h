#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data_loaders/text/added_vocabulary.h"
#include "data_loaders/text/pre_tokenizer.h"
#include "data_loaders/text/token_decoder.h"
#include "data_loaders/text/token_vocabulary.h"
#include "data_loaders/text/tokenizer.h"

namespace graft::data {

/// Turns one pre-tokenised piece into ids. Thread-safe.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  virtual void encode(std::string_view piece, std::vector<TokenId>& out) const = 0;
  virtual const TokenVocabulary& vocabulary() const = 0;
};

/// The stages of a tokenizer, in the order in which a text passes through them.
struct PipelineParts {
  std::string where;  ///< file, for messages
  std::vector<AddedToken> added;
  Normalizer normalizer;
  PreTokenizerPtr pre_tokenizer;  ///< may be null
  std::shared_ptr<const SubwordModel> model;
  TokenDecoder decoder;  ///< empty: tokens are joined by spaces
  Tokenizer::Specials specials;
};

/// Added tokens, normaliser, pre-tokeniser, model, decoder: the Hugging Face tokenizers library's way.
class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(PipelineParts parts);

  std::vector<TokenId> encode(std::string_view text, SpecialText special) const override;
  std::vector<TokenId> encode_parts(std::span<const TextPart> parts) const override;
  std::string decode(std::span<const TokenId> ids, bool skip_special) const override;
  int64_t vocabulary_size() const override { return size_; }
  std::optional<TokenId> id_of(std::string_view token) const override;
  bool is_special(TokenId id) const override;

 private:
  void encode_segment(std::string_view text, bool at_start, const AddedVocabulary::Allowed& allowed,
                      std::vector<TokenId>& out) const;

  PipelineParts parts_;
  AddedVocabulary added_;
  int64_t size_ = 0;
};

/// Ids are checked against the vocabulary; holes in it decode to nothing. Used by every tokenizer of this folder.
void expect_token_id(TokenId id, int64_t vocabulary_size, const std::string& where);

/// One text from the parts and the byte ranges of it in which special tokens count.
struct JoinedParts {
  explicit JoinedParts(std::span<const TextPart> parts);
  bool special_allowed(size_t begin, size_t end) const;
  bool is_whole_part(size_t begin, size_t end) const;
  bool mixed() const { return some_plain_ && some_parsed_; }

  std::string text;

 private:
  std::vector<std::pair<size_t, size_t>> all_, plain_;  // sorted
  bool some_plain_ = false, some_parsed_ = false;
};

}  // namespace graft::data
