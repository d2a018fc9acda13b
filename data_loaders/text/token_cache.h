#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data_loaders/text/token_set.h"
#include "peft_core/base/cache_folder.h"

namespace graft::data {

/// Tokenised data as it comes out of the cache.
struct CachedTokens {
  TokenSet samples;
  std::string note;  ///< what the maker wants back, e.g. counts of cut samples as JSON
};

/// SHA-256 of everything that the ids depend on: the data files' hashes, the tokenizer's files, the template and its
/// options. The cache's own version is added here. The order of the parts counts.
std::string token_cache_key(const std::vector<std::string>& parts);

/// Tokenised data in files `KEY.tokens`: mapped, not read; written atomically, so that several runs may share a folder;
/// checked by hash before use. Nothing here can fail a run: a damaged file and a folder that cannot be written are
/// warnings.
class TokenCache {
 public:
  /// Nowhere: finds nothing, keeps nothing.
  TokenCache() = default;
  explicit TokenCache(std::filesystem::path folder) : folder_(std::move(folder)) {}
  /// In cache_folder(); nowhere if the environment names none.
  static TokenCache standard() { return TokenCache(cache_folder()); }

  bool is_somewhere() const { return !folder_.empty(); }

  std::optional<CachedTokens> find(const std::string& key) const;
  void keep(const std::string& key, const TokenSet& samples, const std::string& note) const;

  /// What is kept under the key, else what `make` makes, which is kept then.
  CachedTokens get(const std::string& key, const std::function<CachedTokens()>& make) const;

 private:
  std::filesystem::path file_of(const std::string& key) const { return folder_ / (key + ".tokens"); }
  std::filesystem::path folder_;
};

}  // namespace graft::data
