#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data_loaders/text/record.h"

namespace graft::data {

/// Indices into the records, each part in order.
struct Split {
  std::vector<int64_t> train, held_out;
  int64_t train_sources = 0, held_out_sources = 0;
};

/// Holds out about `share` of the rows, whole source documents at a time: no source has rows in both parts. Rows
/// without a source are sources of their own. Which sources are held out depends on the seed and their names alone, in
/// an order drawn by hash; a source that would overshoot the share is passed over, so a document larger than the share
/// stays in training. Throws   InvalidArgument unless 0 <= share < 1, and if the share is above 0 but no source can be
/// held out (a single document,
///          or all larger than the share) with the reason.
Split split_by_source(const std::vector<Record>& records, double share, uint64_t seed);

std::string to_text(const Split& split);

/// The records at the indices.
std::vector<Record> take(const std::vector<Record>& records, const std::vector<int64_t>& indices);

}  // namespace graft::data
