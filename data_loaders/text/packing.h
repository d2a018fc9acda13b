#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data_loaders/text/token_sample.h"
#include "data_loaders/text/token_set.h"

namespace graft::data {

/// What happens to a sample that is longer than max_length.
enum class LongSample {
  kTruncate,  ///< cut at the end: what a dialogue needs, as its start is its sense
  kSplit,     ///< cut into pieces of max_length: what a document needs, so that all of it is learnt
};

struct FitReport {
  int64_t samples = 0;      ///< given
  int64_t truncated = 0;    ///< cut at max_length
  int64_t split = 0;        ///< documents that became several pieces
  int64_t pieces = 0;       ///< made from them
  int64_t dropped = 0;      ///< nothing to learn is left: the answer was cut away entirely, or fewer than two tokens
  int64_t lost_tokens = 0;  ///< in cut ends and dropped samples

  FitReport& operator+=(const FitReport& other);
};

/// Samples of at most max_length tokens, each with at least one target, in the order given.
/// Throws InvalidArgument if max_length < 2.
std::vector<TokenSample> fit_to_length(std::vector<TokenSample> samples, int64_t max_length, LongSample policy,
                                       FitReport* report = nullptr);

/// Indices of samples that share one row.
using PackedRow = std::vector<int64_t>;

/// Whole samples into rows of at most max_length tokens: each sample goes, in order, to the row with the least room
/// that still holds it (best fit), else it opens a row. Deterministic; O(S log S). Every sample must fit (see
/// fit_to_length). Throws InvalidArgument for a longer sample.
std::vector<PackedRow> pack_rows(const TokenSet& samples, int64_t max_length);

/// The samples end to end, each a sequence of its own: positions restart and no attention crosses. Never padded.
/// The target at a sequence's last place is -1, as is one whose token is not to be learnt.
TokenBatch batch(const TokenSet& samples, std::span<const int64_t> indices);

/// The samples of several packed rows end to end.
TokenBatch batch_of_rows(const TokenSet& samples, std::span<const PackedRow> rows,
                         std::span<const int64_t> row_indices);

/// All samples packed: batches of `rows` rows of at most max_length tokens.
std::vector<TokenBatch> pack(const TokenSet& samples, int64_t max_length, int64_t rows);

/// Share of the rows' room that holds tokens; 1 is perfect.
double fill_ratio(const TokenSet& samples, std::span<const PackedRow> rows, int64_t max_length);

}  // namespace graft::data
