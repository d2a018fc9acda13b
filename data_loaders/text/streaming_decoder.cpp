#include "data_loaders/text/streaming_decoder.h"

#include <span>
#include <string_view>

namespace graft::data {
namespace {

constexpr std::string_view kIncomplete = "\xEF\xBF\xBD";
// A character has at most four bytes; more ids than that cannot be waiting for one.
constexpr size_t kLongestWait = 4;
// Word-start marks change the text only right behind the first ids, so a few ids of history do.
constexpr size_t kHistory = 4, kLongestHistory = 64;

}  // namespace

std::string StreamingDecoder::push(TokenId id) {
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  window_.push_back(id);
  const std::string text = tokenizer_->decode(window_);
  const bool waits = text.ends_with(kIncomplete) && window_.size() - given_ < kLongestWait;
  return waits ? std::string() : take(text);
}

std::string StreamingDecoder::finish() { return take(tokenizer_->decode(window_)); }

std::string StreamingDecoder::take(const std::string& text) {
  const std::string before = tokenizer_->decode(std::span(window_).first(given_));
  forget();
  given_ = window_.size();
  return text.size() > before.size() ? text.substr(before.size()) : std::string();
}

// Cuts the history where a character begins: half of one would spoil a run of byte tokens.
void StreamingDecoder::forget() {
  if (window_.size() <= 2 * kHistory) return;
  for (size_t keep = kHistory; keep < window_.size(); ++keep) {
    const auto rest = std::span(window_).last(keep);
    if (window_.size() < kLongestHistory && tokenizer_->decode(rest).starts_with(kIncomplete)) continue;
    window_.erase(window_.begin(), window_.end() - static_cast<std::ptrdiff_t>(keep));
    return;
  }
}

}  // namespace graft::data
