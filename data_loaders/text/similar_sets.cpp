#include "data_loaders/text/similar_sets.h"

#include <algorithm>
#include <limits>

#include "data_loaders/text/hash64.h"

namespace graft::data {
namespace {

constexpr size_t kBucketLimit = 64;

/// Byte offsets of the characters' starts, and the end.
std::vector<size_t> character_starts(std::string_view text) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) starts.push_back(i);
  }
  starts.push_back(text.size());
  return starts;
}

}  // namespace

std::vector<uint32_t> five_grams(std::string_view text) {
  constexpr size_t kLength = 5;
  const auto starts = character_starts(text);
  std::vector<uint32_t> grams;
  if (starts.size() <= kLength) return {static_cast<uint32_t>(hash64(text))};
  grams.reserve(starts.size() - kLength);
  for (size_t i = 0; i + kLength < starts.size(); ++i) {
    grams.push_back(static_cast<uint32_t>(hash64(text.substr(starts[i], starts[i + kLength] - starts[i]))));
  }
  std::sort(grams.begin(), grams.end());
  grams.erase(std::unique(grams.begin(), grams.end()), grams.end());
  return grams;
}

double jaccard(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  size_t both = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    both += a[i] == b[j];
    const bool step_a = a[i] <= b[j], step_b = b[j] <= a[i];
    i += step_a;
    j += step_b;
  }
  const size_t either = a.size() + b.size() - both;
  return either == 0 ? 1.0 : static_cast<double>(both) / static_cast<double>(either);
}

SimilarSets::BandKeys SimilarSets::band_keys(const std::vector<uint32_t>& grams) {
  constexpr int kCount = kBands * kRows;
  std::array<uint32_t, kCount> xors, factors, smallest;
  for (int i = 0; i < kCount; ++i) {
    const uint64_t drawn = mix64(static_cast<uint64_t>(i) + 1);
    xors[static_cast<size_t>(i)] = static_cast<uint32_t>(drawn);
    factors[static_cast<size_t>(i)] = static_cast<uint32_t>(drawn >> 32) | 1u;  // odd, so that the map is a permutation
  }
  smallest.fill(std::numeric_limits<uint32_t>::max());
  for (const uint32_t gram : grams) {
    for (size_t i = 0; i < kCount; ++i) smallest[i] = std::min(smallest[i], (gram ^ xors[i]) * factors[i]);
  }
  BandKeys keys{};
  for (size_t band = 0; band < kBands; ++band) {
    for (size_t row = 0; row < kRows; ++row) keys[band] = mix64(keys[band] ^ smallest[band * kRows + row]);
  }
  return keys;
}

SimilarSets::Match SimilarSets::find(const std::vector<uint32_t>& grams,
                                     const std::function<bool(int64_t)>& accept) const {
  const auto keys = band_keys(grams);
  std::vector<uint32_t> candidates;
  for (size_t band = 0; band < kBands; ++band) {
    const auto bucket = buckets_[band].find(keys[band]);
    if (bucket != buckets_[band].end())
      candidates.insert(candidates.end(), bucket->second.begin(), bucket->second.end());
  }
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  for (const uint32_t candidate : candidates) {
    const auto& [index, other] = sets_[candidate];
    const double similarity = jaccard(grams, other);
    if (similarity > threshold_ && (!accept || accept(index))) return {index, similarity};
  }
  return {};
}

void SimilarSets::add(int64_t index, std::vector<uint32_t> grams) {
  const auto keys = band_keys(grams);
  const auto place = static_cast<uint32_t>(sets_.size());
  for (size_t band = 0; band < kBands; ++band) {
    auto& bucket = buckets_[band][keys[band]];
    if (bucket.size() < kBucketLimit) bucket.push_back(place);
  }
  sets_.emplace_back(index, std::move(grams));
}

}  // namespace graft::data
