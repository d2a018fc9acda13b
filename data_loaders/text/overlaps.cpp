#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "data_loaders/text/comparison_text.h"
#include "data_loaders/text/duplicates.h"
#include "data_loaders/text/hash64.h"
#include "data_loaders/text/similar_sets.h"
#include "data_loaders/text/word_tokens.h"

namespace graft::data {
namespace {

/// Hashes of all runs of `length` words. A polynomial modulo 2^64 over well-mixed word hashes, rolled in O(1) a word.
std::vector<uint64_t> phrase_hashes(const std::vector<uint64_t>& words, size_t length) {
  constexpr uint64_t kBase = 0x9E3779B97F4A7C15ull;
  if (words.size() < length) return {};
  uint64_t highest = 1, rolling = 0;
  for (size_t i = 1; i < length; ++i) highest *= kBase;
  std::vector<uint64_t> phrases;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i >= length) rolling -= words[i - length] * highest;
    rolling = rolling * kBase + words[i];
    if (i + 1 >= length) phrases.push_back(mix64(rolling));
  }
  return phrases;
}

std::vector<uint64_t> word_hashes(std::string_view text) {
  std::vector<uint64_t> hashes;
  for (const auto& word : word_tokens(text)) hashes.push_back(hash64(word));
  return hashes;
}

/// Phrases of the evaluation questions by length. A character of Chinese says less than a word, so its runs are longer.
class PhraseIndex {
 public:
  void add(int64_t eval, std::string_view question) {
    const bool undivided = is_mostly_undivided(question);
    const size_t usual = undivided ? 20 : 13, shortest = undivided ? 12 : 8;
    const auto words = word_hashes(question);
    if (words.size() < shortest) return;
    const size_t length = std::min(usual, words.size());
    const auto phrases = phrase_hashes(words, length);
    for (const uint64_t phrase : phrases) owner_[length].try_emplace(phrase, eval);
    phrase_count_[eval] = phrases.size();
  }

  /// The evaluation row of which the most phrases are in the text.
  std::optional<std::pair<int64_t, double>> find(std::string_view text) const {
    const auto words = word_hashes(text);
    std::map<int64_t, std::unordered_set<uint64_t>> hits;
    for (const auto& [length, owners] : owner_) {
      for (const uint64_t phrase : phrase_hashes(words, length)) {
        if (const auto owner = owners.find(phrase); owner != owners.end()) hits[owner->second].insert(phrase);
      }
    }
    std::optional<std::pair<int64_t, double>> best;
    for (const auto& [eval, phrases] : hits) {
      const double share = static_cast<double>(phrases.size()) / static_cast<double>(phrase_count_.at(eval));
      if (!best || share > best->second) best = {eval, std::min(1.0, share)};
    }
    return best;
  }

 private:
  std::map<size_t, std::unordered_map<uint64_t, int64_t>> owner_;
  std::unordered_map<int64_t, size_t> phrase_count_;
};

class EvalIndex {
 public:
  EvalIndex(const std::vector<Record>& eval, const DuplicateSearch& search)
      : eval_(eval), search_(search), similar_(search.threshold) {
    for (size_t i = 0; i < eval.size(); ++i) {
      const auto index = static_cast<int64_t>(i);
      std::string form = question_form(eval[i]);
      if (search.near) similar_.add(index, five_grams(form));
      exact_.emplace(std::move(form), index);
      phrases_.add(index, question_of(eval[i]));
    }
  }

  std::optional<Overlap> find(int64_t train, const Record& record) const {
    const std::string form = question_form(record);
    const auto [begin, end] = exact_.equal_range(form);
    for (auto entry = begin; entry != end; ++entry) {
      if (may_be_same(record, entry->second)) return Overlap{train, entry->second, Likeness::kExact, 1.0};
    }
    if (search_.near) {
      const auto match = similar_.find(five_grams(form), [&](int64_t other) { return may_be_same(record, other); });
      if (match.index >= 0) return Overlap{train, match.index, Likeness::kNear, match.similarity};
    }
    if (const auto phrase = phrases_.find(full_text(record)))
      return Overlap{train, phrase->first, Likeness::kPhrase, phrase->second};
    return std::nullopt;
  }

 private:
  /// "What does the text say?" about another text is another question.
  bool may_be_same(const Record& record, int64_t eval) const {
    const std::string& other = eval_[static_cast<size_t>(eval)].context;
    return record.context.empty() || other.empty() || comparison_form(record.context) == comparison_form(other);
  }

  const std::vector<Record>& eval_;
  DuplicateSearch search_;
  std::unordered_multimap<std::string, int64_t> exact_;
  SimilarSets similar_;
  PhraseIndex phrases_;
};

}  // namespace

std::vector<Overlap> find_overlaps(const std::vector<Record>& train, const std::vector<Record>& eval,
                                   const DuplicateSearch& search) {
  const EvalIndex index(eval, search);
  std::vector<Overlap> found;
  for (size_t i = 0; i < train.size(); ++i) {
    if (const auto overlap = index.find(static_cast<int64_t>(i), train[i])) found.push_back(*overlap);
  }
  return found;
}

}  // namespace graft::data
