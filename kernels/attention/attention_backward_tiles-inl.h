#pragma once

// Private to the tile variants: compiled for AVX-512 and for AVX2.

#include <omp.h>

#include "kernels/attention/backward_panel.h"
#include "kernels/attention/schedule.h"
#include "kernels/attention/variants.h"
#include "kernels/tiles/aligned_buffer.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {
namespace {

constexpr int64_t kGranulesOfBlock = kKeyBlock / kGranule;

/// Keys and values of all sequences.
struct PackedKeys {
  PackedRows keys, values;     ///< as they stand
  PackedRows transposed_keys;
};

GRAFT_TILES void pack_granule(const AttentionProblem& problem, const AttentionSequence& sequence, const KeyGranule& granule,
                              int64_t key_head, const PackedKeys& packed) {
  const HeadTiles head(problem.width);
  const int64_t place = sequence.first_granule + granule.first_key / kGranule;
  const RowBlock keys = rows_of_granule(problem.k, sequence, granule.first_key, key_head, problem.width);
  copy_rows(keys, head, packed.keys.of(key_head, place));
  copy_transposed(keys, head, packed.transposed_keys.of(key_head, place));
  copy_rows(rows_of_granule(problem.v, sequence, granule.first_key, key_head, problem.width), head, packed.values.of(key_head, place));
}

/// The gradients that one thread adds up for the keys and values of one unit: for each granule dk's tiles and dv's.
struct KeySums {
  float* first;
  int64_t values;  ///< of a granule's dk or dv
  float* dk(int64_t granule) const { return first + 2 * granule * values; }
  float* dv(int64_t granule) const { return dk(granule) + values; }
};

template <class Tiles>
struct Unit {
  Tiles& tiles;
  const AttentionProblem& problem;
  const AttentionSequence& sequence;
  const BackwardUnit& unit;
  const PackedKeys& packed;
  const BackwardWork& work;
  KeySums sums;
  HeadTiles head;
  int64_t group;
};

/// Neighbouring blocks of queries for all the heads of the group.
struct Pass {
  int64_t blocks = 0;
  GranuleRange seen[kPanels];  ///< by each block
  Visibility visibility[kPanels];
};

/// One head's panel and the granules [first, first + granules) of a key block, which begins at granule `block`.
template <class Tiles>
GRAFT_TILES void run_panel(const Unit<Tiles>& u, const Visibility& visibility, int64_t panel, int64_t block, int64_t first, int64_t granules,
                           bool first_of_query) {
  const HeadTiles& head = u.head;
  const QueryWork query = u.work.of(panel, head);
  const auto tiles_of = [&](const PackedRows& rows, int64_t granule) {
    return rows.of(u.unit.key_head, u.sequence.first_granule + granule);
  };
  for (int64_t granule = first; granule < first + granules; ++granule) {
    before_tile_loads();
    multiply_granule(u.tiles, tiles_of(u.packed.keys, granule), query.queries, head, u.work.scores);
    multiply_granule(u.tiles, tiles_of(u.packed.values, granule), query.gradients, head, u.work.dp);
    if (!visibility.whole(granule * kGranule)) hide(visibility, granule * kGranule, u.work.scores);
    const int64_t at = panel * kKeyBlock * kQueryBlock + (granule - block) * 2 * kTile;
    uint16_t* paired = u.work.paired_ds + (granule - first) * 2 * kTile;
    score_gradients(u.work, query, u.problem.scale * kLog2E, u.work.p + at, u.work.ds + at, paired);
  }
  add_over_keys(u.tiles, tiles_of(u.packed.transposed_keys, first), u.work.paired_ds, granules, head, first_of_query, query.dq);
}

/// A granule's dk and dv += what the panels of blocks [first, end) of a pass found.
template <class Tiles>
GRAFT_TILES void add_panels(const Unit<Tiles>& u, int64_t granule, int64_t of_block, int64_t first, int64_t end, bool fresh) {
  const QueryWork query = u.work.of(first * u.group, u.head);
  const int64_t query_step = BackwardWork::query_bytes(u.head) / 2, panels = (end - first) * u.group;
  const int64_t at = first * u.group * kKeyBlock * kQueryBlock + of_block * 2 * kTile, slot = granule - u.unit.first_granule;
  add_to_keys(u.tiles, u.work.p + at, query.paired_gradients, query_step, panels, u.head, fresh, u.sums.dv(slot));
  add_to_keys(u.tiles, u.work.ds + at, query.paired_queries, query_step, panels, u.head, fresh, u.sums.dk(slot));
}

/// One block of keys for the panels of a pass. Granules of the sequence from `fresh` on have no sums yet.
template <class Tiles>
GRAFT_TILES void run_key_block(const Unit<Tiles>& u, const Pass& pass, int64_t block, int64_t granules, int64_t fresh) {
  for (int64_t b = 0; b < pass.blocks; ++b) {
    const GranuleRange seen = pass.seen[b];
    const int64_t first = seen.begin > block ? seen.begin : block, end = seen.end < block + granules ? seen.end : block + granules;
    for (int64_t g = 0; g < u.group && first < end; ++g)
      run_panel(u, pass.visibility[b], b * u.group + g, block, first, end - first, first == seen.begin);
  }
  for (int64_t granule = block; granule < block + granules; ++granule) {
    int64_t first = 0, end = pass.blocks;
    while (pass.seen[first].end <= granule) ++first;
    while (pass.seen[end - 1].begin > granule) --end;
    add_panels(u, granule, granule - block, first, end, granule >= fresh);
  }
}

template <class Tiles>
GRAFT_TILES void write_query_gradient(const Unit<Tiles>& u, const QueryBlock& block, const QueryWork& query, HeadRows<uint16_t> dq) {
  const __m512 factor = _mm512_set1_ps(u.problem.scale);
  uint16_t* to = dq.data + block.token * dq.stride + block.head * u.problem.width;
  for (int64_t half = 0; half < 2; ++half)
    for (int64_t column = 0; column < u.head.columns; column += 2) {
      const float* tile = query.dq + (2 * column + half) * kTileFloats;
      write_transposed(tile, tile + 2 * kTileFloats, factor, to + column * kTileRows, dq.stride, u.problem.width - column * kTileRows,
                       block.count, [half](int64_t lane) { return query_of_lane(half, lane); });
    }
}

template <class Tiles>
GRAFT_TILES void run_unit(const Unit<Tiles>& u, const AttentionGradients& gradients) {
  int64_t fresh = u.unit.first_granule;
  for (int64_t block = u.unit.first_block; block < u.unit.end_block; block += blocks_of_pass(u.group)) {
    const int64_t left = u.unit.end_block - block;
    Pass pass;
    pass.blocks = left < blocks_of_pass(u.group) ? left : blocks_of_pass(u.group);
    const auto over_panels = [&](const auto& body) {
      for (int64_t panel = 0; panel < pass.blocks * u.group; ++panel) {
        const int64_t first_query = (block + panel / u.group) * kQueryBlock, rest = u.sequence.queries - first_query;
        const QueryBlock of{u.sequence.first_query + first_query, rest < kQueryBlock ? rest : kQueryBlock,
                            u.unit.key_head * u.group + panel % u.group};
        body(of, u.work.of(panel, u.head));
      }
    };
    for (int64_t b = 0; b < pass.blocks; ++b) {
      pass.visibility[b] = Visibility(u.problem, u.sequence, (block + b) * kQueryBlock);
      pass.seen[b] = visible_granules(u.problem, u.sequence, block + b, block + b + 1);
    }
    over_panels([&](const QueryBlock& of, const QueryWork& work) { load_queries(u.problem, gradients, of, work); });
    const int64_t end = pass.seen[pass.blocks - 1].end;
    for (int64_t first = pass.seen[0].begin; first < end; first += kGranulesOfBlock)
      run_key_block(u, pass, first, end - first < kGranulesOfBlock ? end - first : kGranulesOfBlock, fresh);
    fresh = end;
    over_panels([&](const QueryBlock& of, const QueryWork& work) { write_query_gradient(u, of, work, gradients.dq); });
  }
}

/// What the units of one sequence and key head added up for one granule.
struct Parts {
  const float* dk[kMostParts];
  const float* dv[kMostParts];
  int64_t count = 0;
};

Parts parts_of(const BackwardPlan& plan, int64_t group, int64_t granule, const KeySums& slots) {
  Parts parts;
  for (int64_t u = plan.first_unit[static_cast<size_t>(group)]; u < plan.first_unit[static_cast<size_t>(group) + 1]; ++u) {
    const auto& unit = plan.units[static_cast<size_t>(u)];
    if (granule < unit.first_granule || granule >= unit.end_granule) continue;
    parts.dk[parts.count] = slots.dk(unit.slot + granule - unit.first_granule);
    parts.dv[parts.count++] = slots.dv(unit.slot + granule - unit.first_granule);
  }
  return parts;
}

/// 32 keys x width <- factor · the sum of the parts, in the order of the units.
GRAFT_TILES void write_key_gradient(const float* const* parts, int64_t count, float factor, int64_t width, int64_t rows, uint16_t* to,
                                    int64_t stride) {
  for (int64_t row = 0; row < kGranule && row < rows; ++row)
    for (int64_t column = 0; column * kTileRows < width; ++column) {
      const int64_t at = (column / 2 * 4 + row / kTileRows * 2 + column % 2) * kTileFloats + row % kTileRows * 16;
      __m512 sum = _mm512_setzero_ps();
      for (int64_t part = 0; part < count; ++part) sum = _mm512_add_ps(sum, _mm512_load_ps(parts[part] + at));
      const __m256i rounded = round_to_bfloat16(_mm512_mul_ps(sum, _mm512_set1_ps(factor)));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + row * stride + column * kTileRows), rounded);
    }
}

GRAFT_TILES void write_granule(const AttentionProblem& problem, const AttentionSequence& sequence, int64_t key_head, int64_t granule,
                               const Parts& parts, const AttentionGradients& to) {
  const int64_t first_key = granule * kGranule, rows = sequence.keys - first_key;
  const int64_t token = sequence.first_key + first_key, column = key_head * problem.width;
  const HeadRows<uint16_t> &dk = to.dk, &dv = to.dv;
  write_key_gradient(parts.dk, parts.count, problem.scale, problem.width, rows, dk.data + token * dk.stride + column, dk.stride);
  write_key_gradient(parts.dv, parts.count, 1.0f, problem.width, rows, dv.data + token * dv.stride + column, dv.stride);
}

/// One call's memory: the tiles of keys and values, the sums of units that share their keys, and each thread's work with the sums of a
/// unit that does not share them: those are written while they are still in the cache.
struct Memory {
  PackedKeys packed;
  KeySums slots;
  uint8_t* work;
  int64_t own_bytes, work_bytes;

  Memory(const HeadTiles& head, int64_t panels, int64_t key_tiles, int64_t granules, const BackwardPlan& plan) {
    static thread_local AlignedBuffer<uint8_t> memory;
    const int64_t packed_values = key_tiles * head.block(), granule_bytes = 2 * 4 * head.block();
    own_bytes = plan.own_granules * granule_bytes;
    work_bytes = own_bytes + BackwardWork::bytes(head, panels);
    const int64_t packed_bytes = 3 * 2 * packed_values, slot_bytes = plan.slots * granule_bytes;
    uint8_t* first = memory.reserve(static_cast<size_t>(packed_bytes + slot_bytes + omp_get_max_threads() * work_bytes));
    auto* tiles = reinterpret_cast<uint16_t*>(first);
    const auto rows = [&](int64_t matrix) { return PackedRows{tiles + matrix * packed_values, granules, head.block()}; };
    packed = {rows(0), rows(1), rows(2)};
    slots = {reinterpret_cast<float*>(first + packed_bytes), head.block()};
    work = first + packed_bytes + slot_bytes;
  }
  KeySums own_sums(int64_t thread) const { return {reinterpret_cast<float*>(work + thread * work_bytes), slots.values}; }
  uint8_t* work_of(int64_t thread) const { return work + thread * work_bytes + own_bytes; }
};

template <class Tiles>
GRAFT_TILES void backward(const AttentionProblem& problem, const AttentionGradients& gradients) {
  const HeadTiles head(problem.width);
  const int64_t group = problem.heads / problem.key_heads, panels = blocks_of_pass(group) * group;
  const auto sequences = sequences_of(problem);
  const auto granules = granules_of(sequences);
  const auto plan = backward_plan(problem, sequences);
  const auto granule_count = static_cast<int64_t>(granules.size()), unit_count = static_cast<int64_t>(plan.units.size());
  const int64_t key_tiles = problem.key_heads * granule_count;
  const Memory memory(head, panels, key_tiles, granule_count, plan);

#pragma omp parallel
  {
    Tiles tiles;
    const BackwardWork work(memory.work_of(omp_get_thread_num()), head, panels);
    const KeySums own = memory.own_sums(omp_get_thread_num());
#pragma omp for schedule(static)
    for (int64_t i = 0; i < key_tiles; ++i) {
      const auto& granule = granules[static_cast<size_t>(i % granule_count)];
      pack_granule(problem, sequences[static_cast<size_t>(granule.sequence)], granule, i / granule_count, memory.packed);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t u = 0; u < unit_count; ++u) {
      const auto& unit = plan.units[static_cast<size_t>(plan.order[static_cast<size_t>(u)])];
      const auto& sequence = sequences[static_cast<size_t>(unit.sequence)];
      const KeySums sums = unit.alone() ? own : KeySums{memory.slots.dk(unit.slot), memory.slots.values};
      run_unit(Unit<Tiles>{tiles, problem, sequence, unit, memory.packed, work, sums, head, group}, gradients);
      for (int64_t g = unit.first_granule; unit.alone() && g < unit.end_granule; ++g) {
        const int64_t slot = g - unit.first_granule;
        write_granule(problem, sequence, unit.key_head, g, {{own.dk(slot)}, {own.dv(slot)}, 1}, gradients);
      }
    }
#pragma omp for schedule(static)
    for (int64_t i = 0; i < key_tiles; ++i) {
      const auto& granule = granules[static_cast<size_t>(i % granule_count)];
      const int64_t key_head = i / granule_count, place = granule.first_key / kGranule;
      const int64_t owner = granule.sequence * problem.key_heads + key_head;
      if (plan.written_by_unit(owner, place)) continue;
      const auto& sequence = sequences[static_cast<size_t>(granule.sequence)];
      write_granule(problem, sequence, key_head, place, parts_of(plan, owner, place, memory.slots), gradients);
    }
  }
}

}  // namespace
}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
