#include "kernels/attention/schedule.h"

#include <algorithm>
#include <numeric>

namespace graft::kernels::detail {
namespace {

int64_t block_cost(const AttentionProblem& problem, const AttentionSequence& sequence, int64_t block) {
  const auto seen = visible_granules(problem, sequence, block, block + 1);
  return seen.end - seen.begin;
}

int64_t sequence_cost(const AttentionProblem& problem, const AttentionSequence& sequence) {
  int64_t cost = 0;
  for (int64_t block = 0; block < sequence.blocks(); ++block) cost += block_cost(problem, sequence, block);
  return cost;
}

/// Ends of `parts` runs of blocks of about equal cost.
std::vector<int64_t> equal_parts(const AttentionProblem& problem, const AttentionSequence& sequence, int64_t cost, int64_t parts) {
  std::vector<int64_t> ends;
  int64_t done = 0;
  for (int64_t block = 0; block < sequence.blocks(); ++block) {
    done += block_cost(problem, sequence, block);
    if (done * parts >= cost * (static_cast<int64_t>(ends.size()) + 1)) ends.push_back(block + 1);
  }
  return ends;
}

}  // namespace

GranuleRange visible_granules(const AttentionProblem& problem, const AttentionSequence& sequence, int64_t first_block, int64_t end_block) {
  if (!problem.causal) return {0, sequence.granules()};
  const int64_t first = sequence.position() + first_block * kQueryBlock;
  const int64_t end = sequence.position() + std::min(sequence.queries, end_block * kQueryBlock);
  const int64_t begin = problem.window > 0 ? std::max<int64_t>(0, first + 1 - problem.window) : 0;
  return {begin / kGranule, (end + kGranule - 1) / kGranule};
}

std::vector<AttentionSequence> sequences_of(const AttentionProblem& problem) {
  std::vector<AttentionSequence> sequences;
  AttentionSequence next{};
  for (size_t s = 0; s < problem.lengths.size(); ++s) {
    next.queries = problem.lengths[s];
    next.keys = problem.key_lengths.empty() ? problem.lengths[s] : problem.key_lengths[s];
    sequences.push_back(next);
    next.first_query += next.queries;
    next.first_key += next.keys;
    next.first_granule += next.granules();
  }
  return sequences;
}

std::vector<KeyGranule> granules_of(const std::vector<AttentionSequence>& sequences) {
  std::vector<KeyGranule> granules;
  for (size_t s = 0; s < sequences.size(); ++s)
    for (int64_t key = 0; key < sequences[s].keys; key += kGranule) granules.push_back({static_cast<int64_t>(s), key});
  return granules;
}

std::vector<ForwardUnit> forward_units(const AttentionProblem& problem, const std::vector<AttentionSequence>& sequences) {
  std::vector<int64_t> order(sequences.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return sequences[static_cast<size_t>(a)].keys > sequences[static_cast<size_t>(b)].keys;
  });
  std::vector<ForwardUnit> units;
  for (const auto s : order) {
    const auto& sequence = sequences[static_cast<size_t>(s)];
    for (int64_t key_head = 0; key_head < problem.key_heads; ++key_head)
      for (int64_t block = sequence.blocks() - 1; block >= 0; --block) units.push_back({s, key_head, block * kQueryBlock});
  }
  return units;
}

bool BackwardPlan::written_by_unit(int64_t owner, int64_t granule) const {
  const int64_t first = first_unit[static_cast<size_t>(owner)];
  if (first == first_unit[static_cast<size_t>(owner) + 1]) return false;
  const auto& unit = units[static_cast<size_t>(first)];
  return unit.alone() && granule >= unit.first_granule && granule < unit.end_granule;
}

BackwardPlan backward_plan(const AttentionProblem& problem, const std::vector<AttentionSequence>& sequences) {
  std::vector<int64_t> costs;
  for (const auto& sequence : sequences) costs.push_back(sequence_cost(problem, sequence));
  const int64_t total = std::max<int64_t>(1, problem.key_heads * std::accumulate(costs.begin(), costs.end(), int64_t{0}));
  BackwardPlan plan;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const auto& sequence = sequences[s];
    const int64_t parts = std::clamp<int64_t>((kMostParts * costs[s] + total - 1) / total, 1, std::max<int64_t>(1, sequence.blocks()));
    const auto ends = equal_parts(problem, sequence, costs[s], parts);
    for (int64_t key_head = 0; key_head < problem.key_heads; ++key_head) {
      plan.first_unit.push_back(static_cast<int64_t>(plan.units.size()));
      int64_t first = 0;
      for (const auto end : ends) {
        const auto seen = visible_granules(problem, sequence, first, end);
        const bool alone = ends.size() == 1;
        plan.units.push_back({static_cast<int64_t>(s), key_head, first, end, seen.begin, seen.end, alone ? -1 : plan.slots});
        auto& room = alone ? plan.own_granules : plan.slots;
        room = alone ? std::max(room, seen.end - seen.begin) : room + seen.end - seen.begin;
        first = end;
      }
    }
  }
  plan.first_unit.push_back(static_cast<int64_t>(plan.units.size()));

  const auto cost_of = [&](int64_t unit) {
    const auto& u = plan.units[static_cast<size_t>(unit)];
    int64_t cost = 0;
    const auto& sequence = sequences[static_cast<size_t>(u.sequence)];
    for (int64_t block = u.first_block; block < u.end_block; ++block) cost += block_cost(problem, sequence, block);
    return cost;
  };
  std::vector<int64_t> unit_costs;
  for (size_t u = 0; u < plan.units.size(); ++u) unit_costs.push_back(cost_of(static_cast<int64_t>(u)));
  plan.order.resize(plan.units.size());
  std::iota(plan.order.begin(), plan.order.end(), int64_t{0});
  std::stable_sort(plan.order.begin(), plan.order.end(),
                   [&](int64_t a, int64_t b) { return unit_costs[static_cast<size_t>(a)] > unit_costs[static_cast<size_t>(b)]; });
  return plan;
}

}  // namespace graft::kernels::detail
