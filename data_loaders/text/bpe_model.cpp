#include "data_loaders/text/bpe_model.h"

#include <array>
#include <cstdio>
#include <mutex>
#include <queue>

#include "data_loaders/text/unicode_text.h"
#include "kernels/base/error.h"
#include "peft_core/formats/shown_name.h"

namespace graft::data {
namespace {

constexpr size_t kLongestCachedWord = 128;
constexpr size_t kCacheShards = 16;
constexpr size_t kWordsPerShard = 4096;

std::string byte_token_text(unsigned byte) {
  char buffer[8];
  std::snprintf(buffer, sizeof buffer, "<0x%02X>", byte);
  return buffer;
}

}  // namespace

// Open addressing with linear probing: one cache line answers most questions, which std::unordered_map cannot.
struct BpeModel::MergeTable {
  struct Slot {
    uint64_t key = kEmpty;
    TokenId result = 0;
    uint32_t rank = 0;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  explicit MergeTable(std::span<const BpeMerge> merges) {
    size_t capacity = 16;
    while (capacity < merges.size() * 2) capacity *= 2;
    slots.resize(capacity);
    for (const auto& merge : merges) {
      Slot& slot = slots[place(key_of(merge.left, merge.right))];
      slot = {key_of(merge.left, merge.right), merge.result, merge.rank};
    }
  }

  static uint64_t key_of(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t place(uint64_t key) const {
    const size_t mask = slots.size() - 1;
    size_t i = (key * 0x9E3779B97F4A7C15u >> 20) & mask;
    while (slots[i].key != key && slots[i].key != kEmpty) i = (i + 1) & mask;
    return i;
  }
  const Slot* find(TokenId left, TokenId right) const {
    const Slot& slot = slots[place(key_of(left, right))];
    return slot.key == kEmpty ? nullptr : &slot;
  }

  std::vector<Slot> slots;
};

struct BpeModel::WordCache {
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, std::vector<TokenId>, TextHash, std::equal_to<>> words;
  };
  std::array<Shard, kCacheShards> shards;

  Shard& shard_of(std::string_view word) { return shards[TextHash()(word) >> 7 & (kCacheShards - 1)]; }

  bool append(std::string_view word, std::vector<TokenId>& out) {
    Shard& shard = shard_of(word);
    const std::lock_guard lock(shard.mutex);
    const auto it = shard.words.find(word);
    if (it == shard.words.end()) return false;
    out.insert(out.end(), it->second.begin(), it->second.end());
    return true;
  }

  void store(std::string_view word, std::span<const TokenId> ids) {
    Shard& shard = shard_of(word);
    const std::lock_guard lock(shard.mutex);
    if (shard.words.size() >= kWordsPerShard) shard.words.clear();
    shard.words.emplace(word, std::vector<TokenId>(ids.begin(), ids.end()));
  }
};

BpeModel::BpeModel(std::shared_ptr<const TokenVocabulary> vocabulary, std::span<const BpeMerge> merges, BpeOptions options)
    : vocabulary_(std::move(vocabulary)),
      options_(std::move(options)),
      merges_(std::make_unique<MergeTable>(merges)),
      cache_(std::make_unique<WordCache>()) {
  if (!options_.byte_fallback) return;
  for (unsigned byte = 0; byte < 256; ++byte) byte_tokens_.push_back(vocabulary_->find(byte_token_text(byte)));
}

BpeModel::~BpeModel() = default;

void BpeModel::encode(std::string_view word, std::vector<TokenId>& out) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    if (const auto id = vocabulary_->find(word)) {
      out.push_back(*id);
      return;
    }
  }
  const bool cached = word.size() <= kLongestCachedWord;
  if (cached && cache_->append(word, out)) return;
  std::vector<TokenId> ids;
  spell(word, ids);
  merge(ids);
  if (cached) cache_->store(word, ids);
  out.insert(out.end(), ids.begin(), ids.end());
}

void BpeModel::spell(std::string_view word, std::vector<TokenId>& out) const {
  std::optional<TokenId> pending;  // an unknown token that a neighbour may still join
  std::string glued;
  for (size_t pos = 0, length; pos < word.size(); pos += length) {
    length = character_length(word, pos);
    std::string_view character = word.substr(pos, length);
    if ((pos > 0 && !options_.continuing_prefix.empty()) || (pos + length == word.size() && !options_.end_suffix.empty())) {
      glued = (pos > 0 ? options_.continuing_prefix : "") + std::string(character) +
              (pos + length == word.size() ? options_.end_suffix : "");
      character = glued;
    }
    if (const auto id = vocabulary_->find(character)) {
      if (pending) out.push_back(*pending);
      pending.reset();
      out.push_back(*id);
    } else {
      unknown(character, pending, out);
    }
  }
  if (pending) out.push_back(*pending);
}

void BpeModel::unknown(std::string_view character, std::optional<TokenId>& pending, std::vector<TokenId>& out) const {
  if (options_.byte_fallback) {
    bool all = true;
    for (const char c : character) all = all && byte_tokens_[static_cast<unsigned char>(c)].has_value();
    if (all) {
      // A pending unknown token stays pending and so lands behind these bytes: the reference library's order.
      for (const char c : character) out.push_back(*byte_tokens_[static_cast<unsigned char>(c)]);
      return;
    }
  }
  if (!options_.unk) return;
  if (pending && !options_.fuse_unk) out.push_back(*pending);
  pending = options_.unk;
}

void BpeModel::merge(std::vector<TokenId>& ids) const {
  const auto count = static_cast<int32_t>(ids.size());
  if (count < 2) return;
  struct Link {
    int32_t previous, next;
  };
  struct Candidate {
    uint64_t order;  // rank, then position
    TokenId result;
    bool operator>(const Candidate& other) const { return order > other.order; }
  };
  std::vector<Link> links(ids.size());
  std::vector<Candidate> storage;
  storage.reserve(ids.size() * 2);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(), std::move(storage));
  const auto offer = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    if (const auto* merge = merges_->find(ids[left], ids[right]))
      queue.push({static_cast<uint64_t>(merge->rank) << 32 | static_cast<uint32_t>(left), merge->result});
  };
  for (int32_t i = 0; i < count; ++i) links[i] = {i - 1, i + 1 < count ? i + 1 : -1};
  for (int32_t i = 0; i + 1 < count; ++i) offer(i, i + 1);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const auto left = static_cast<int32_t>(top.order & 0xFFFFFFFFu);
    if (ids[left] < 0) continue;
    const int32_t right = links[left].next;
    if (right < 0) continue;
    const auto* merge = merges_->find(ids[left], ids[right]);
    if (merge == nullptr || merge->result != top.result) continue;  // a neighbour has changed since
    ids[left] = top.result;
    ids[right] = -1;
    links[left].next = links[right].next;
    if (links[left].next >= 0) links[links[left].next].previous = left;
    offer(links[left].previous, left);
    offer(left, links[left].next);
  }
  std::erase(ids, -1);
}

std::vector<BpeMerge> merges_from_pairs(const TokenVocabulary& vocabulary, std::span<const std::pair<std::string, std::string>> pairs,
                                        size_t prefix_length, const std::string& where) {
  std::vector<BpeMerge> merges;
  merges.reserve(pairs.size());
  const auto id_of = [&](const std::string& text) {
    const auto id = vocabulary.find(text);
    if (!id) throw IoError({.where = where, .what = "token is not in the vocabulary", .got = formats::shown(text)});
    return *id;
  };
  for (const auto& [left, right] : pairs) {
    const std::string joined = left + (right.size() >= prefix_length ? right.substr(prefix_length) : right);
    merges.push_back({id_of(left), id_of(right), id_of(joined), static_cast<uint32_t>(merges.size())});
  }
  return merges;
}

std::vector<BpeMerge> merges_from_pieces(const TokenVocabulary& vocabulary, std::span<const int64_t> rank_of) {
  std::vector<BpeMerge> merges;
  const auto usable = [&](const std::optional<TokenId>& id) { return id && rank_of[static_cast<size_t>(*id)] >= 0; };
  for (const auto& entry : vocabulary.entries()) {
    const auto rank = rank_of[static_cast<size_t>(entry.id)];
    if (rank < 0 || vocabulary.find(entry.text) != entry.id) continue;
    const std::string_view text = entry.text;
    for (size_t cut = 1; cut < text.size(); ++cut) {
      const auto left = vocabulary.find(text.substr(0, cut));
      if (!usable(left)) continue;
      const auto right = vocabulary.find(text.substr(cut));
      if (usable(right)) merges.push_back({*left, *right, entry.id, static_cast<uint32_t>(rank)});
    }
  }
  return merges;
}

}  // namespace graft::data
