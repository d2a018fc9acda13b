#include "data_loaders/text/packing.h"

#include <algorithm>
#include <map>

#include "kernels/base/error.h"

namespace graft::data {
namespace {

bool has_target(const TokenSample& sample) {
  return sample.learn.size() > 1 &&
         std::any_of(sample.learn.begin() + 1, sample.learn.end(), [](uint8_t learn) { return learn != 0; });
}

TokenSample piece_of(const TokenSample& sample, size_t begin, size_t length) {
  const auto from = static_cast<std::ptrdiff_t>(begin), to = static_cast<std::ptrdiff_t>(begin + length);
  return {{sample.ids.begin() + from, sample.ids.begin() + to},
          {sample.learn.begin() + from, sample.learn.begin() + to}};
}

class Fitter {
 public:
  Fitter(size_t max_length, LongSample policy, FitReport& report)
      : max_length_(max_length), policy_(policy), report_(report) {}

  void add(TokenSample sample) {
    GRAFT_ASSERT(sample.ids.size() == sample.learn.size());
    ++report_.samples;
    if (sample.ids.size() <= max_length_) {
      keep(std::move(sample));
    } else if (policy_ == LongSample::kSplit) {
      split(sample);
    } else {
      ++report_.truncated;
      report_.lost_tokens += static_cast<int64_t>(sample.ids.size() - max_length_);
      keep(piece_of(sample, 0, max_length_));
    }
  }
  std::vector<TokenSample> take() { return std::move(kept_); }

 private:
  /// False if nothing in it can be learnt.
  bool keep(TokenSample sample) {
    if (!has_target(sample)) {
      ++report_.dropped;
      report_.lost_tokens += static_cast<int64_t>(sample.ids.size());
      return false;
    }
    kept_.push_back(std::move(sample));
    return true;
  }
  void split(const TokenSample& sample) {
    ++report_.split;
    for (size_t begin = 0; begin < sample.ids.size(); begin += max_length_) {
      report_.pieces += keep(piece_of(sample, begin, std::min(max_length_, sample.ids.size() - begin)));
    }
  }

  size_t max_length_;
  LongSample policy_;
  FitReport& report_;
  std::vector<TokenSample> kept_;
};

void append(const TokenView& sample, TokenBatch& to) {
  const size_t length = sample.ids.size();
  to.ids.insert(to.ids.end(), sample.ids.begin(), sample.ids.end());
  for (size_t i = 0; i < length; ++i) {
    to.positions.push_back(static_cast<int32_t>(i));
    to.targets.push_back(i + 1 < length && sample.learn[i + 1] != 0 ? sample.ids[i + 1] : TokenId{-1});
  }
  to.lengths.push_back(static_cast<int32_t>(length));
}

}  // namespace

FitReport& FitReport::operator+=(const FitReport& other) {
  samples += other.samples;
  truncated += other.truncated;
  split += other.split;
  pieces += other.pieces;
  dropped += other.dropped;
  lost_tokens += other.lost_tokens;
  return *this;
}

int64_t TokenBatch::target_count() const {
  return std::count_if(targets.begin(), targets.end(), [](TokenId target) { return target >= 0; });
}

std::vector<TokenSample> fit_to_length(std::vector<TokenSample> samples, int64_t max_length, LongSample policy,
                                       FitReport* report) {
  if (max_length < 2)
    throw InvalidArgument({.where = "train.max_length",
                           .what = "is too small",
                           .expected = "at least 2",
                           .got = std::to_string(max_length)});
  FitReport own;
  Fitter fitter(static_cast<size_t>(max_length), policy, report != nullptr ? *report : own);
  for (auto& sample : samples) fitter.add(std::move(sample));
  return fitter.take();
}

std::vector<PackedRow> pack_rows(const TokenSet& samples, int64_t max_length) {
  std::vector<PackedRow> rows;
  std::map<int64_t, std::vector<size_t>> rows_by_room;  // the last of a list is taken first
  for (int64_t i = 0; i < samples.size(); ++i) {
    const int64_t length = samples.length(i);
    if (length > max_length) {
      throw InvalidArgument({.where = "train.max_length",
                             .what = "a sample does not fit into a row",
                             .expected = "at most " + std::to_string(max_length) + " tokens",
                             .got = std::to_string(length)});
    }
    size_t row = rows.size();
    int64_t room = max_length;
    if (const auto best = rows_by_room.lower_bound(length); best != rows_by_room.end()) {
      room = best->first;
      row = best->second.back();
      best->second.pop_back();
      if (best->second.empty()) rows_by_room.erase(best);
    } else {
      rows.emplace_back();
    }
    rows[row].push_back(i);
    if (room > length) rows_by_room[room - length].push_back(row);
  }
  return rows;
}

TokenBatch batch(const TokenSet& samples, std::span<const int64_t> indices) {
  TokenBatch result;
  for (const int64_t index : indices) append(samples[index], result);
  return result;
}

TokenBatch batch_of_rows(const TokenSet& samples, std::span<const PackedRow> rows,
                         std::span<const int64_t> row_indices) {
  TokenBatch result;
  for (const int64_t row : row_indices) {
    GRAFT_ASSERT(row >= 0 && row < static_cast<int64_t>(rows.size()));
    for (const int64_t index : rows[static_cast<size_t>(row)]) append(samples[index], result);
  }
  return result;
}

std::vector<TokenBatch> pack(const TokenSet& samples, int64_t max_length, int64_t rows) {
  if (rows < 1)
    throw InvalidArgument(
        {.where = "train.batch_size", .what = "is too small", .expected = "at least 1", .got = std::to_string(rows)});
  const auto packed = pack_rows(samples, max_length);
  std::vector<TokenBatch> batches;
  for (size_t first = 0; first < packed.size(); first += static_cast<size_t>(rows)) {
    std::vector<int64_t> wanted;
    for (size_t row = first; row < std::min(packed.size(), first + static_cast<size_t>(rows)); ++row)
      wanted.push_back(static_cast<int64_t>(row));
    batches.push_back(batch_of_rows(samples, packed, wanted));
  }
  return batches;
}

double fill_ratio(const TokenSet& samples, std::span<const PackedRow> rows, int64_t max_length) {
  if (rows.empty()) return 1.0;
  int64_t tokens = 0;
  for (const auto& row : rows) {
    for (const int64_t index : row) tokens += samples.length(index);
  }
  return static_cast<double>(tokens) / static_cast<double>(max_length * static_cast<int64_t>(rows.size()));
}

}  // namespace graft::data
