#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data_loaders/text/tokenizer.h"

namespace graft::data {

/// Text as ids arrive one by one: whole characters only. Everything it gives, end to end, is decode() of all ids, as long as
/// they spell valid UTF-8. Costs a constant number of ids for each push.
class StreamingDecoder {
 public:
  enum class Specials { kKeep, kSkip };
  explicit StreamingDecoder(std::shared_ptr<const Tokenizer> tokenizer, Specials specials = Specials::kSkip)
      : tokenizer_(std::move(tokenizer)), skip_special_(specials == Specials::kSkip) {}

  /// The text that `id` completes; may be empty.
  std::string push(TokenId id);
  /// What is still held back; call it once, after the last id.
  std::string finish();

 private:
  std::string take(const std::string& text);
  void forget();

  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_;
  std::vector<TokenId> window_;  // ids whose text is given, for their effect on what follows, then ids that wait
  size_t given_ = 0;             // how many of them belong to the first kind
};

}  // namespace graft::data
