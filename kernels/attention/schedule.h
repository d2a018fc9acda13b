#pragma once

// Private to this folder: how a problem is cut into pieces of work. The cut depends on the problem alone, never on the number of threads,
// and every piece owns what it writes; so results are the same bytes whoever computes which piece and when.

#include <cstdint>
#include <vector>

#include "kernels/attention/attention.h"

namespace graft::kernels::detail {

constexpr int64_t kQueryBlock = 32;  ///< queries of one head that are worked on together
constexpr int64_t kGranule = 32;     ///< keys are copied, skipped and masked by so many
constexpr int64_t kKeyBlock = 128;   ///< most keys worked on together

/// A problem of few sequences is cut into about so many backward units: 2, 3, 4, 6 and 12 threads get equal shares. Each further cut of
/// a sequence costs another copy of its sums, and none is cut into more.
constexpr int64_t kMostParts = 12;

struct AttentionSequence {
  int64_t first_query, queries;  ///< within the stream of queries
  int64_t first_key, keys;       ///< within the stream of keys
  int64_t first_granule;         ///< within the granules of all sequences
  int64_t position() const { return keys - queries; }  ///< of query 0 among the keys
  int64_t granules() const { return (keys + kGranule - 1) / kGranule; }
  int64_t blocks() const { return (queries + kQueryBlock - 1) / kQueryBlock; }
};

/// Up to kGranule keys of one sequence.
struct KeyGranule {
  int64_t sequence, first_key;  ///< first_key within the sequence
};

/// A block of queries for all the query heads of one key head.
struct ForwardUnit {
  int64_t sequence, key_head, first_query;  ///< first_query within the sequence
};

/// Blocks [first_block, end_block) of queries for all the query heads of one key head. The granules [first_granule, end_granule) of
/// its sequence are all that they see; their sums for dk and dv stand in slots from `slot` on, to be added to those of other units.
struct BackwardUnit {
  int64_t sequence, key_head, first_block, end_block;
  int64_t first_granule, end_granule, slot;
  bool alone() const { return slot < 0; }  ///< no other unit has queries for these keys, no slots are needed
};

struct GranuleRange {
  int64_t begin, end;  ///< within the sequence
};

/// The granules that hold a key which one of the queries of blocks [first_block, end_block) sees.
GranuleRange visible_granules(const AttentionProblem& problem, const AttentionSequence& sequence, int64_t first_block, int64_t end_block);

std::vector<AttentionSequence> sequences_of(const AttentionProblem& problem);
std::vector<KeyGranule> granules_of(const std::vector<AttentionSequence>& sequences);

/// Long sequences first and long blocks first within one, so that the last pieces to finish are small.
std::vector<ForwardUnit> forward_units(const AttentionProblem& problem, const std::vector<AttentionSequence>& sequences);

struct BackwardPlan {
  std::vector<BackwardUnit> units;   ///< those of one (sequence, key head) side by side, in the order of sequences, heads and blocks
  std::vector<int64_t> first_unit;   ///< [sequence * key_heads + key_head], and one more at the end
  std::vector<int64_t> order;        ///< of the units, the costliest first
  int64_t slots = 0;                 ///< in all
  int64_t own_granules = 0;          ///< most of a unit that is alone

  /// Whether the unit that is the only one of `owner`, a place in first_unit, has the granule.
  bool written_by_unit(int64_t owner, int64_t granule) const;
};
BackwardPlan backward_plan(const AttentionProblem& problem, const std::vector<AttentionSequence>& sequences);

}  // namespace graft::kernels::detail
