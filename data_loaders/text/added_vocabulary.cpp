#include "data_loaders/text/added_vocabulary.h"

#include <algorithm>

#include "data_loaders/text/unicode_text.h"

namespace graft::data {
namespace {

size_t white_space_before(std::string_view text, size_t end) {
  while (end > 0 && is_white_space(code_point_at(text, character_begin_before(text, end))))
    end = character_begin_before(text, end);
  return end;
}

size_t white_space_behind(std::string_view text, size_t begin) {
  while (begin < text.size() && is_white_space(code_point_at(text, begin))) begin += character_length(text, begin);
  return begin;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  const bool before = begin > 0 && is_word_character(code_point_at(text, character_begin_before(text, begin)));
  const bool behind = end < text.size() && is_word_character(code_point_at(text, end));
  return !before && !behind;
}

}  // namespace

uint32_t TextMatcher::step(uint32_t node, unsigned char byte) const {
  for (const auto& [label, target] : nodes_[node].next)
    if (label == byte) return target;
  return 0;
}

void TextMatcher::add(std::string_view text, size_t value) {
  if (text.empty()) return;
  begins_[static_cast<unsigned char>(text[0])] = true;
  uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    uint32_t next = step(node, byte);
    if (next == 0) {
      next = static_cast<uint32_t>(nodes_.size());
      nodes_[node].next.emplace_back(byte, next);
      nodes_.emplace_back();
    }
    node = next;
  }
  if (nodes_[node].value < 0) nodes_[node].value = static_cast<int64_t>(value);
}

TextMatcher::Match TextMatcher::find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!begins_[static_cast<unsigned char>(text[begin])]) continue;
    Match best{begin, begin, 0};
    uint32_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      node = step(node, static_cast<unsigned char>(text[i]));
      if (node == 0) break;
      if (nodes_[node].value >= 0) best = {begin, i + 1, static_cast<size_t>(nodes_[node].value)};
    }
    if (best.end > best.begin) return best;
  }
  return {text.size(), text.size(), 0};
}

AddedVocabulary::AddedVocabulary(std::vector<AddedToken> tokens, const Normalizer& normalizer) : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    by_content_.emplace(token.content, i);
    by_id_.emplace(token.id, i);
    if (token.normalized) {
      normalized_.add(normalizer ? normalizer(token.content) : token.content, i);
    } else {
      raw_.add(token.content, i);
    }
    if (!token.normalized || token.special) mixed_.add(token.content, i);
  }
}

std::vector<AddedVocabulary::Segment> AddedVocabulary::split(std::string_view text, const TextMatcher& matcher,
                                                             const Allowed& special_allowed) const {
  std::vector<Segment> segments;
  size_t done = 0, from = 0;
  while (!matcher.empty()) {
    const auto match = matcher.find(text, from);
    if (match.end == match.begin) break;
    const AddedToken& token = tokens_[match.value];
    from = match.end;
    if (token.special && !special_allowed(match.begin, match.end)) {
      from = match.begin + 1;  // a token that begins inside may still count
      continue;
    }
    if (token.single_word && !stands_alone(text, match.begin, match.end)) continue;
    const size_t begin = token.lstrip ? std::max(done, white_space_before(text, match.begin)) : match.begin;
    const size_t end = token.rstrip ? white_space_behind(text, match.end) : match.end;
    if (done < begin) segments.push_back({done, begin, -1});
    segments.push_back({begin, end, token.id});
    done = end;  // a later token may still begin in the white space taken here, and then it counts as well, as in the reference
  }
  if (done < text.size()) segments.push_back({done, text.size(), -1});
  return segments;
}

std::vector<AddedVocabulary::Segment> AddedVocabulary::split_raw(std::string_view text, const Allowed& special_allowed,
                                                                 bool mixed) const {
  return split(text, mixed ? mixed_ : raw_, special_allowed);
}

std::vector<AddedVocabulary::Segment> AddedVocabulary::split_normalized(std::string_view text,
                                                                        const Allowed& special_allowed) const {
  return split(text, normalized_, special_allowed);
}

const AddedToken* AddedVocabulary::find(std::string_view content) const {
  const auto it = by_content_.find(std::string(content));
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedVocabulary::find(TokenId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

}  // namespace graft::data
