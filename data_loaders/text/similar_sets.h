#pragma once

// Internal: near-duplicate search among sets of n-grams. Not for other folders.

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace graft::data {

/// Hashes of the distinct runs of five characters of a text, sorted; a shorter text is one run.
std::vector<uint32_t> five_grams(std::string_view text);

/// |A and B| / |A or B| of two sorted sets.
double jaccard(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b);

/// Finds earlier sets with a Jaccard similarity above a threshold: candidates by MinHash with 16 bands of 4 values,
/// each checked exactly, so that nothing is reported wrongly. A pair of similarity 0.8 is missed with probability
/// 0.0002, above it less. A bucket keeps its first 64 sets, which bounds the work for texts from one mould.
/// Deterministic.
///
/// Source: Broder 1997 (resemblance); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, ch. 3.4 (bands).
class SimilarSets {
 public:
  explicit SimilarSets(double threshold) : threshold_(threshold) {}

  struct Match {
    int64_t index = -1;  ///< -1: none
    double similarity = 0;
  };
  /// The first added set that is similar enough and that `accept`, if given, accepts by its index.
  Match find(const std::vector<uint32_t>& grams, const std::function<bool(int64_t)>& accept = {}) const;
  /// `index` is what find() answers.
  void add(int64_t index, std::vector<uint32_t> grams);

 private:
  static constexpr int kBands = 16, kRows = 4;
  using BandKeys = std::array<uint64_t, kBands>;
  static BandKeys band_keys(const std::vector<uint32_t>& grams);

  double threshold_;
  std::vector<std::pair<int64_t, std::vector<uint32_t>>> sets_;
  std::array<std::unordered_map<uint64_t, std::vector<uint32_t>>, kBands> buckets_;
};

}  // namespace graft::data
