#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data_loaders/text/normalizer.h"
#include "data_loaders/text/tokenizer.h"

namespace graft::data {

/// A token that is found in the text before anything else happens to it.
struct AddedToken {
  std::string content;
  TokenId id = 0;
  bool special = false;      ///< control token: left alone in plain text, dropped by skip_special
  bool lstrip = false;       ///< swallows the white space before it
  bool rstrip = false;       ///< swallows the white space behind it
  bool single_word = false;  ///< matches only where no word character touches it
  bool normalized = false;   ///< is looked for in the normalised text
};

/// Finds any of a set of strings: leftmost first, the longest of those.
class TextMatcher {
 public:
  void add(std::string_view text, size_t value);
  struct Match {
    size_t begin, end, value;
  };
  /// The first match at or behind `from`; `end == begin` if there is none.
  Match find(std::string_view text, size_t from) const;
  bool empty() const { return nodes_.size() == 1; }

 private:
  struct Node {
    std::vector<std::pair<unsigned char, uint32_t>> next;
    int64_t value = -1;
  };
  uint32_t step(uint32_t node, unsigned char byte) const;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  bool begins_[256] = {};
};

/// The added tokens of a tokenizer and the rules by which they cut a text.
class AddedVocabulary {
 public:
  AddedVocabulary() = default;
  AddedVocabulary(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  struct Segment {
    size_t begin, end;
    TokenId id;  ///< -1: ordinary text
  };
  /// Which special tokens may be recognised at [begin, end).
  using Allowed = std::function<bool(size_t begin, size_t end)>;

  /// Cuts the raw text. `mixed`: special tokens that are normally sought in the normalised text are sought here already,
  /// because positions cannot be followed through normalisation.
  std::vector<Segment> split_raw(std::string_view text, const Allowed& special_allowed, bool mixed) const;
  std::vector<Segment> split_normalized(std::string_view text, const Allowed& special_allowed) const;

  const AddedToken* find(std::string_view content) const;
  const AddedToken* find(TokenId id) const;
  std::span<const AddedToken> tokens() const { return tokens_; }

 private:
  std::vector<Segment> split(std::string_view text, const TextMatcher& matcher, const Allowed& special_allowed) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, size_t> by_content_;
  std::unordered_map<TokenId, size_t> by_id_;
  TextMatcher raw_, normalized_, mixed_;
};

}  // namespace graft::data
