#include "data_loaders/text/pipeline_tokenizer.h"

#include <algorithm>

#include "data_loaders/text/unicode_text.h"
#include "kernels/base/error.h"

namespace graft::data {

JoinedParts::JoinedParts(std::span<const TextPart> parts) {
  for (const auto& part : parts) {
    const size_t begin = text.size();
    text += is_valid_utf8(part.text) ? std::string(part.text) : valid_utf8(part.text);
    all_.emplace_back(begin, text.size());
    const bool plain = part.special == SpecialText::kPlain;
    if (plain && text.size() > begin) plain_.emplace_back(begin, text.size());
    (plain ? some_plain_ : some_parsed_) = true;
  }
}

bool JoinedParts::special_allowed(size_t begin, size_t end) const {
  if (plain_.empty()) return true;
  const auto next = std::partition_point(plain_.begin(), plain_.end(), [&](const auto& range) { return range.second <= begin; });
  return next == plain_.end() || next->first >= end;
}

bool JoinedParts::is_whole_part(size_t begin, size_t end) const {
  return std::find(all_.begin(), all_.end(), std::pair(begin, end)) != all_.end();
}

void expect_token_id(TokenId id, int64_t vocabulary_size, const std::string& where) {
  if (id < 0 || id >= vocabulary_size)
    throw InvalidArgument({.where = where, .what = "token id outside the vocabulary", .expected = "0.." + std::to_string(vocabulary_size - 1), .got = std::to_string(id)});
}

PipelineTokenizer::PipelineTokenizer(PipelineParts parts) : parts_(std::move(parts)), added_(parts_.added, parts_.normalizer) {
  specials_ = parts_.specials;
  size_ = parts_.model->vocabulary().size();
  for (const auto& token : added_.tokens()) size_ = std::max<int64_t>(size_, int64_t{token.id} + 1);
}

std::vector<TokenId> PipelineTokenizer::encode(std::string_view text, SpecialText special) const {
  const TextPart part{text, special};
  return encode_parts({&part, 1});
}

std::vector<TokenId> PipelineTokenizer::encode_parts(std::span<const TextPart> parts) const {
  const JoinedParts joined(parts);
  const std::string_view text = joined.text;
  const auto allowed = [&](size_t begin, size_t end) { return joined.special_allowed(begin, end); };
  std::vector<TokenId> out;
  for (const auto& segment : added_.split_raw(text, allowed, joined.mixed())) {
    if (segment.id >= 0) {
      out.push_back(segment.id);
      continue;
    }
    // Positions are lost in normalisation, so here a stretch that touches plain text is plain as a whole.
    const bool plain = !joined.special_allowed(segment.begin, segment.end);
    encode_segment(text.substr(segment.begin, segment.end - segment.begin), segment.begin == 0,
                   [plain](size_t, size_t) { return !plain; }, out);
  }
  return out;
}

void PipelineTokenizer::encode_segment(std::string_view text, bool at_start, const AddedVocabulary::Allowed& allowed,
                                       std::vector<TokenId>& out) const {
  const std::string normalized = parts_.normalizer ? parts_.normalizer(std::string(text)) : std::string(text);
  for (const auto& segment : added_.split_normalized(normalized, allowed)) {
    if (segment.id >= 0) {
      out.push_back(segment.id);
      continue;
    }
    PieceList list{normalized.substr(segment.begin, segment.end - segment.begin), {}};
    list.pieces.push_back({0, list.text.size(), at_start && segment.begin == 0});
    if (parts_.pre_tokenizer) parts_.pre_tokenizer->apply(list);
    for (const auto& piece : list.pieces) parts_.model->encode(list.view(piece), out);
  }
}

std::string PipelineTokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    expect_token_id(id, size_, parts_.where);
    const AddedToken* added = added_.find(id);
    if (added != nullptr) {
      if (!(skip_special && added->special)) tokens.push_back(added->content);
    } else if (const auto text = parts_.model->vocabulary().text_of(id)) {
      tokens.emplace_back(*text);
    }
  }
  std::string out;
  if (parts_.decoder) {
    for (const auto& text : parts_.decoder(std::move(tokens))) out += text;
    return out;
  }
  for (size_t i = 0; i < tokens.size(); ++i) out += (i > 0 ? " " : "") + tokens[i];
  return out;
}

std::optional<TokenId> PipelineTokenizer::id_of(std::string_view token) const {
  if (const auto* added = added_.find(token)) return added->id;
  return parts_.model->vocabulary().find(token);
}

bool PipelineTokenizer::is_special(TokenId id) const {
  const auto* added = added_.find(id);
  return added != nullptr && added->special;
}

}  // namespace graft::data
