#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data_loaders/text/tokenizer.h"

namespace graft::data {

struct TokenEntry {
  std::string text;
  TokenId id;
};

/// Token spellings and their ids, both ways. If a text occurs twice, its first entry answers `find`.
class TokenVocabulary {
 public:
  /// Throws IoError naming `where` for negative ids, ids far beyond the number of entries, or an id given twice.
  TokenVocabulary(std::vector<TokenEntry> entries, const std::string& where);
  TokenVocabulary(const TokenVocabulary&) = delete;
  TokenVocabulary& operator=(const TokenVocabulary&) = delete;

  std::optional<TokenId> find(std::string_view text) const {
    const auto it = ids_.find(text);
    return it == ids_.end() ? std::nullopt : std::optional(it->second);
  }
  /// Nothing for a hole in the numbering.
  std::optional<std::string_view> text_of(TokenId id) const;
  int64_t size() const { return static_cast<int64_t>(by_id_.size()); }  ///< largest id + 1
  std::span<const TokenEntry> entries() const { return entries_; }

 private:
  std::vector<TokenEntry> entries_;
  std::unordered_map<std::string_view, TokenId> ids_;
  std::vector<int32_t> by_id_;  // index into entries_, -1 for a hole
};

}  // namespace graft::data
