#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data_loaders/text/pipeline_tokenizer.h"

namespace graft::data {

/// Two neighbours that may become one; the lowest rank in a word goes first, the leftmost among equals.
struct BpeMerge {
  TokenId left, right, result;
  uint32_t rank;
};

struct BpeOptions {
  std::optional<TokenId> unk;
  bool fuse_unk = false;        ///< unknown neighbours become one unknown token
  bool byte_fallback = false;   ///< characters without a token are spelt by `<0xNN>` tokens
  bool ignore_merges = false;   ///< a word that is a token is taken whole
  std::string continuing_prefix, end_suffix;  ///< glued to the characters that do not begin, and the one that ends, a word
};

/// Byte-pair encoding of one pre-tokenised word.
///
/// Cost     O(n log n) in the word's length; short words come from a cache. Thread-safe.
/// Source   Sennrich et al. 2016, arXiv:1508.07909; order of merges and treatment of unknown characters as in the
///          Hugging Face tokenizers library, so characters that cannot be spelt without an unknown token are dropped.
class BpeModel final : public SubwordModel {
 public:
  BpeModel(std::shared_ptr<const TokenVocabulary> vocabulary, std::span<const BpeMerge> merges, BpeOptions options);
  ~BpeModel() override;

  void encode(std::string_view word, std::vector<TokenId>& out) const override;
  const TokenVocabulary& vocabulary() const override { return *vocabulary_; }

 private:
  struct MergeTable;
  struct WordCache;
  void spell(std::string_view word, std::vector<TokenId>& out) const;
  void unknown(std::string_view character, std::optional<TokenId>& pending, std::vector<TokenId>& out) const;
  void merge(std::vector<TokenId>& ids) const;

  std::shared_ptr<const TokenVocabulary> vocabulary_;
  BpeOptions options_;
  std::vector<std::optional<TokenId>> byte_tokens_;
  std::unique_ptr<const MergeTable> merges_;
  std::unique_ptr<WordCache> cache_;
};

/// The merges that a file lists as pairs of texts, the first one first. `prefix_length`: bytes of the continuing prefix, which the right
/// half loses when glued. Throws IoError naming `where` for a text that is not in the vocabulary.
std::vector<BpeMerge> merges_from_pairs(const TokenVocabulary& vocabulary, std::span<const std::pair<std::string, std::string>> pairs,
                                        size_t prefix_length, const std::string& where);

/// The merges of a vocabulary that gives pieces with ranks but no list of merges (SentencePiece, tiktoken): any two pieces whose
/// text together is a piece. `rank_of[id]` < 0 leaves a piece out.
std::vector<BpeMerge> merges_from_pieces(const TokenVocabulary& vocabulary, std::span<const int64_t> rank_of);

}  // namespace graft::data
