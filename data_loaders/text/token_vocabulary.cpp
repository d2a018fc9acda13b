#include "data_loaders/text/token_vocabulary.h"

#include "kernels/base/error.h"

namespace graft::data {
namespace {

// Real vocabularies number their tokens with few holes; this keeps a damaged id from asking for gigabytes.
constexpr int64_t kHolesAllowed = 1'000'000;

}  // namespace

TokenVocabulary::TokenVocabulary(std::vector<TokenEntry> entries, const std::string& where) : entries_(std::move(entries)) {
  const auto count = static_cast<int64_t>(entries_.size());
  int64_t largest = -1;
  for (const auto& entry : entries_) {
    if (entry.id < 0 || entry.id > count + kHolesAllowed)
      throw IoError({.where = where, .what = "token id out of range", .expected = "0.." + std::to_string(count - 1), .got = std::to_string(entry.id)});
    largest = std::max<int64_t>(largest, entry.id);
  }
  by_id_.assign(static_cast<size_t>(largest + 1), -1);
  ids_.reserve(entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) {
    auto& slot = by_id_[static_cast<size_t>(entries_[i].id)];
    if (slot >= 0)
      throw IoError({.where = where, .what = "two tokens share one id", .got = std::to_string(entries_[i].id)});
    slot = static_cast<int32_t>(i);
    ids_.emplace(entries_[i].text, entries_[i].id);
  }
}

std::optional<std::string_view> TokenVocabulary::text_of(TokenId id) const {
  if (id < 0 || id >= size() || by_id_[static_cast<size_t>(id)] < 0) return std::nullopt;
  return entries_[static_cast<size_t>(by_id_[static_cast<size_t>(id)])].text;
}

}  // namespace graft::data
