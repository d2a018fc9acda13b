#include "data_loaders/text/token_cache.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <ostream>

#include "kernels/base/error.h"
#include "peft_core/base/files.h"
#include "peft_core/base/log.h"
#include "peft_core/base/sha256.h"

namespace graft::data {
namespace {

constexpr uint32_t kVersion = 1;
constexpr size_t kDigits = 64;

/// At the start of the file; then offsets (S + 1) int64, ids (N) int32, learn (N) uint8, note.
struct FileHead {
  char magic[8];
  uint32_t version, byte_order;
  uint64_t sample_count, token_count, note_size;
  char key[kDigits];
  char body_sha256[kDigits];
};
static_assert(sizeof(FileHead) % alignof(int64_t) == 0);

constexpr char kMagic[8] = {'G', 'R', 'A', 'F', 'T', 'T', 'O', 'K'};
constexpr uint32_t kByteOrder = 0x01020304;

template <class T>
std::string_view bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

struct Parts {
  std::span<const int64_t> offsets;
  std::span<const TokenId> ids;
  std::span<const uint8_t> learn;
  std::string_view note;
};

FileHead head_of(const std::string& key, const TokenSet& samples, const std::string& note) {
  FileHead head{};
  std::copy_n(kMagic, 8, head.magic);
  head.version = kVersion;
  head.byte_order = kByteOrder;
  head.sample_count = static_cast<uint64_t>(samples.size());
  head.token_count = static_cast<uint64_t>(samples.token_count());
  head.note_size = note.size();
  Sha256 body;
  for (const auto part :
       {bytes_of(samples.offsets()), bytes_of(samples.ids()), bytes_of(samples.learn()), std::string_view(note)})
    body.add(part);
  std::copy_n(key.data(), kDigits, head.key);
  std::copy_n(body.hex().data(), kDigits, head.body_sha256);
  return head;
}

/// The reason why the file is not what the key promises; empty if it is.
std::string problem_of(std::string_view file, const FileHead& head, const std::string& key) {
  if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0 || head.version != kVersion || head.byte_order != kByteOrder)
    return "another format";
  if (std::string_view(head.key, kDigits) != key) return "another key";
  const uint64_t body = file.size() - sizeof(FileHead);
  // Each count is bounded first, so that the sum cannot overflow.
  if (head.sample_count >= body / sizeof(int64_t) || head.token_count > body || head.note_size > body)
    return "wrong size";
  const uint64_t expected =
      (head.sample_count + 1) * sizeof(int64_t) + head.token_count * (sizeof(TokenId) + 1) + head.note_size;
  if (expected != body) return "wrong size";
  if (sha256_hex(file.substr(sizeof(FileHead))) != std::string_view(head.body_sha256, kDigits))
    return "damaged content";
  return "";
}

Parts parts_of(std::string_view file, const FileHead& head) {
  const char* at = file.data() + sizeof(FileHead);
  Parts parts;
  parts.offsets = {reinterpret_cast<const int64_t*>(at), head.sample_count + 1};
  at += parts.offsets.size_bytes();
  parts.ids = {reinterpret_cast<const TokenId*>(at), head.token_count};
  at += parts.ids.size_bytes();
  parts.learn = {reinterpret_cast<const uint8_t*>(at), head.token_count};
  parts.note = {at + head.token_count, head.note_size};
  return parts;
}

bool is_consistent(const Parts& parts) {
  const auto& offsets = parts.offsets;
  if (offsets.front() != 0 || offsets.back() != static_cast<int64_t>(parts.ids.size())) return false;
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1] || offsets[i] - offsets[i - 1] > std::numeric_limits<int32_t>::max()) return false;
  }
  return std::all_of(parts.ids.begin(), parts.ids.end(), [](TokenId id) { return id >= 0; });
}

}  // namespace

std::string token_cache_key(const std::vector<std::string>& parts) {
  Sha256 hash;
  hash.add("token cache " + std::to_string(kVersion));
  for (const auto& part : parts) {
    hash.add(std::to_string(part.size()) + ":");
    hash.add(part);
  }
  return hash.hex();
}

std::optional<CachedTokens> TokenCache::find(const std::string& key) const {
  std::error_code ignored;
  if (folder_.empty() || key.size() != kDigits || !std::filesystem::is_regular_file(file_of(key), ignored))
    return std::nullopt;
  try {
    const auto file = MappedFile::open(file_of(key));
    std::string problem = "too short";
    if (file->text().size() > sizeof(FileHead)) {
      FileHead head;
      std::memcpy(&head, file->text().data(), sizeof head);
      problem = problem_of(file->text(), head, key);
      const auto parts = problem.empty() ? parts_of(file->text(), head) : Parts();
      if (problem.empty() && is_consistent(parts)) {
        return CachedTokens{TokenSet::view(file, parts.offsets, parts.ids, parts.learn), std::string(parts.note)};
      }
    }
    log_warning("token cache: " + file_of(key).string() + " is not usable (" + problem +
                "); the data is tokenised again");
  } catch (const Error& error) {
    log_warning(std::string("token cache: ") + error.what());
  }
  return std::nullopt;
}

void TokenCache::keep(const std::string& key, const TokenSet& samples, const std::string& note) const {
  if (folder_.empty() || samples.size() == 0) return;
  GRAFT_ASSERT(key.size() == kDigits);
  try {
    std::filesystem::create_directories(folder_);
    const FileHead head = head_of(key, samples, note);
    write_file_atomically(file_of(key), [&](std::ostream& out) {
      out.write(reinterpret_cast<const char*>(&head), sizeof head);
      for (const auto part :
           {bytes_of(samples.offsets()), bytes_of(samples.ids()), bytes_of(samples.learn()), std::string_view(note)}) {
        out.write(part.data(), static_cast<std::streamsize>(part.size()));
      }
    });
  } catch (const std::exception& error) {  // a cache that cannot be kept costs time, not the run
    log_warning(std::string("token cache: not kept: ") + error.what());
  }
}

CachedTokens TokenCache::get(const std::string& key, const std::function<CachedTokens()>& make) const {
  if (auto found = find(key)) {
    log_info("token cache: " + std::to_string(found->samples.size()) + " samples taken from " + file_of(key).string());
    return *found;
  }
  CachedTokens made = make();
  keep(key, made.samples, made.note);
  return made;
}

}  // namespace graft::data
