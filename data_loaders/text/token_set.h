#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "data_loaders/text/token_sample.h"

namespace graft::data {

/// One sample of a TokenSet, without a copy.
struct TokenView {
  std::span<const TokenId> ids;    ///< (T)
  std::span<const uint8_t> learn;  ///< (T)
};

/// Tokenised samples, laid end to end in memory or in a mapped file. Cheap to copy, immutable, thread-safe.
class TokenSet {
 public:
  TokenSet() = default;
  explicit TokenSet(const std::vector<TokenSample>& samples);

  int64_t size() const { return static_cast<int64_t>(offsets_.empty() ? 0 : offsets_.size() - 1); }
  int64_t token_count() const { return static_cast<int64_t>(ids_.size()); }
  int64_t length(int64_t index) const {
    return offsets_[static_cast<size_t>(index) + 1] - offsets_[static_cast<size_t>(index)];
  }
  /// Our own bug if the index is outside.
  TokenView operator[](int64_t index) const;

  /// The flat arrays: offsets (S + 1), ids (N), learn (N).
  std::span<const int64_t> offsets() const { return offsets_; }
  std::span<const TokenId> ids() const { return ids_; }
  std::span<const uint8_t> learn() const { return learn_; }
  /// A set over arrays that `owner` keeps alive; the offsets must rise from 0 to the number of ids.
  static TokenSet view(std::shared_ptr<const void> owner, std::span<const int64_t> offsets,
                       std::span<const TokenId> ids, std::span<const uint8_t> learn);

 private:
  std::shared_ptr<const void> owner_;
  std::span<const int64_t> offsets_;
  std::span<const TokenId> ids_;
  std::span<const uint8_t> learn_;
};

/// `count` samples from `begin` on, as a set of their own; a copy.
TokenSet part_of(const TokenSet& samples, int64_t begin, int64_t count);

}  // namespace graft::data
