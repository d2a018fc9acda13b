#include "data_loaders/text/token_set.h"

#include "kernels/base/error.h"

namespace graft::data {
namespace {

struct FlatSamples {
  std::vector<int64_t> offsets{0};
  std::vector<TokenId> ids;
  std::vector<uint8_t> learn;
};

}  // namespace

TokenSet::TokenSet(const std::vector<TokenSample>& samples) {
  auto flat = std::make_shared<FlatSamples>();
  for (const auto& sample : samples) {
    GRAFT_ASSERT(sample.ids.size() == sample.learn.size());
    flat->ids.insert(flat->ids.end(), sample.ids.begin(), sample.ids.end());
    flat->learn.insert(flat->learn.end(), sample.learn.begin(), sample.learn.end());
    flat->offsets.push_back(static_cast<int64_t>(flat->ids.size()));
  }
  *this = view(flat, flat->offsets, flat->ids, flat->learn);
}

TokenView TokenSet::operator[](int64_t index) const {
  GRAFT_ASSERT(index >= 0 && index < size());
  const auto begin = static_cast<size_t>(offsets_[static_cast<size_t>(index)]);
  const auto count = static_cast<size_t>(length(index));
  return {ids_.subspan(begin, count), learn_.subspan(begin, count)};
}

TokenSet TokenSet::view(std::shared_ptr<const void> owner, std::span<const int64_t> offsets,
                        std::span<const TokenId> ids, std::span<const uint8_t> learn) {
  GRAFT_ASSERT(!offsets.empty() && offsets.front() == 0 && offsets.back() == static_cast<int64_t>(ids.size()) &&
               ids.size() == learn.size());
  TokenSet set;
  set.owner_ = std::move(owner);
  set.offsets_ = offsets;
  set.ids_ = ids;
  set.learn_ = learn;
  return set;
}

TokenSet part_of(const TokenSet& samples, int64_t begin, int64_t count) {
  std::vector<TokenSample> part;
  for (int64_t i = begin; i < begin + count; ++i) {
    const auto [ids, learn] = samples[i];
    part.push_back({{ids.begin(), ids.end()}, {learn.begin(), learn.end()}});
  }
  return TokenSet(part);
}

}  // namespace graft::data
