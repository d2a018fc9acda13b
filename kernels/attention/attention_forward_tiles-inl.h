#pragma once

// Private to the tile variants: compiled for AVX-512 and for AVX2.

#include <omp.h>

#include "kernels/attention/schedule.h"
#include "kernels/attention/score_lanes.h"
#include "kernels/attention/tile_products.h"
#include "kernels/attention/tile_rows.h"
#include "kernels/attention/variants.h"
#include "kernels/tiles/aligned_buffer.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {
namespace {

constexpr int64_t kGranulesOfBlock = kKeyBlock / kGranule;

/// Keys and values of all sequences.
struct PackedKeys {
  PackedRows keys, values;  ///< keys as they stand, values transposed
};

GRAFT_TILES void pack_granule(const AttentionProblem& problem, const AttentionSequence& sequence, const KeyGranule& granule,
                              int64_t key_head, const PackedKeys& packed) {
  const HeadTiles head(problem.width);
  const int64_t place = sequence.first_granule + granule.first_key / kGranule;
  const auto rows_of = [&](HeadRows<const uint16_t> from) {
    return rows_of_granule(from, sequence, granule.first_key, key_head, problem.width);
  };
  copy_rows(rows_of(problem.k), head, packed.keys.of(key_head, place));
  copy_transposed(rows_of(problem.v), head, packed.values.of(key_head, place));
}

/// What one thread keeps of one unit.
struct ForwardWork {
  uint16_t* queries;        ///< of all the heads of the group, from copy_columns
  uint16_t* probabilities;  ///< right operands of a product over the keys: [granule of the block][queries 0-15, 16-31]
  float* scores[2];         ///< of two steps: a key block x 32 queries, fp32
  float* out;               ///< transposed: tiles [column tile][queries 0-15, 16-31]

  static int64_t bytes(const HeadTiles& head, int64_t group) {
    return 2 * group * head.block() + 4 * 32 * head.columns * kTileRows + (2 + 2 * 4) * kKeyBlock * kQueryBlock;
  }
  ForwardWork(uint8_t* at, const HeadTiles& head, int64_t group)
      : queries(reinterpret_cast<uint16_t*>(at)), probabilities(queries + group * head.block()),
        scores{reinterpret_cast<float*>(probabilities + kKeyBlock * kQueryBlock), nullptr} {
    scores[1] = scores[0] + kKeyBlock * kQueryBlock;
    out = scores[1] + kKeyBlock * kQueryBlock;
  }
};

/// Running maximum and sum of 32 queries.
struct Statistics {
  __m512 top[2], sum[2];
};

/// The maximum over a block of keys, and by how much what was summed before must shrink.
GRAFT_TILES_INLINE bool raise_top(const float* scores, int64_t keys, float scale2, Statistics& s, __m512 (&shrink)[2]) {
  __m512 a0 = s.top[0], a1 = s.top[1], b0 = a0, b1 = a1;
  for (int64_t key = 0; key < keys; key += 2, scores += 2 * kQueryBlock) {
    a0 = _mm512_max_ps(a0, _mm512_load_ps(scores));
    a1 = _mm512_max_ps(a1, _mm512_load_ps(scores + 16));
    b0 = _mm512_max_ps(b0, _mm512_load_ps(scores + 32));
    b1 = _mm512_max_ps(b1, _mm512_load_ps(scores + 48));
  }
  const __m512 top[2] = {_mm512_max_ps(a0, b0), _mm512_max_ps(a1, b1)};
  const bool same = _mm512_cmpeq_ps_mask(top[0], s.top[0]) == 0xffff && _mm512_cmpeq_ps_mask(top[1], s.top[1]) == 0xffff;
  for (int half = 0; half < 2; ++half) {
    shrink[half] = exp2_precise(_mm512_mul_ps(_mm512_sub_ps(s.top[half], top[half]), _mm512_set1_ps(scale2)));
    s.top[half] = top[half];
    s.sum[half] = _mm512_mul_ps(s.sum[half], shrink[half]);
  }
  return !same;
}

/// One granule's probabilities (not yet divided by their sum), as right operand of a product over the keys.
GRAFT_TILES_INLINE void exponentials(const float* scores, float scale2, Statistics& s, uint16_t* to) {
  const __m512 factor = _mm512_set1_ps(scale2);
  const __m512 shift0 = _mm512_mul_ps(s.top[0], factor), shift1 = _mm512_mul_ps(s.top[1], factor);
  const __m512i half_step = _mm512_set1_epi32(0x8000);
  for (int64_t pair = 0; pair < kGranule / 2; ++pair, scores += 2 * kQueryBlock, to += kTileDepth) {
    const __m512 even0 = exp2_rough(_mm512_fmsub_ps(_mm512_load_ps(scores), factor, shift0));
    const __m512 even1 = exp2_rough(_mm512_fmsub_ps(_mm512_load_ps(scores + 16), factor, shift1));
    const __m512 odd0 = exp2_rough(_mm512_fmsub_ps(_mm512_load_ps(scores + 32), factor, shift0));
    const __m512 odd1 = exp2_rough(_mm512_fmsub_ps(_mm512_load_ps(scores + 48), factor, shift1));
    s.sum[0] = _mm512_add_ps(s.sum[0], _mm512_add_ps(even0, odd0));
    s.sum[1] = _mm512_add_ps(s.sum[1], _mm512_add_ps(even1, odd1));
    // Rounded by hand: the pairs come out in order, which the conversion instructions need permutations for.
    const auto rounded = [&](__m512 v) GRAFT_TILES { return _mm512_add_epi32(_mm512_castps_si512(v), half_step); };
    const auto paired = [&](__m512 even, __m512 odd) GRAFT_TILES {
      return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(rounded(even), 16), rounded(odd));
    };
    _mm512_store_si512(to, paired(even0, odd0));
    _mm512_store_si512(to + kTile, paired(even1, odd1));
  }
}

GRAFT_TILES_INLINE void shrink_out(const __m512 (&shrink)[2], const HeadTiles& head, float* out) {
  for (int64_t column = 0; column < head.columns; ++column)
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t row = 0; row < kTileRows; ++row, out += 16) _mm512_store_ps(out, _mm512_mul_ps(_mm512_load_ps(out), shrink[half]));
}

/// One block of queries of all the heads that share a key head: a panel of up to 32 queries for each head. A single query, as when text is
/// written word by word, makes one panel whose rows are the heads.
struct Unit {
  const AttentionSequence& sequence;
  const PackedKeys& packed;
  const ForwardWork& work;
  HeadTiles head;
  float scale;
  int64_t key_head, panels, count;  ///< count: rows of a panel
  GranuleRange seen;
  HeadRows<const uint16_t> q;       ///< of the first panel, row by row; the others follow a width apart
  HeadRows<uint16_t> out;
  HeadRows<float> log_sums;         ///< the same, one apart; data may be null
};

/// One block of keys for one panel. While its probabilities are computed, a matrix unit works on the scores of the step after it.
struct Step {
  int64_t panel, first, granules;

  Step(const Unit& u, int64_t of_panel, int64_t granule) : panel(of_panel), first(granule), granules(u.seen.end - granule) {
    if (granules > kGranulesOfBlock) granules = kGranulesOfBlock;
  }
  Step next(const Unit& u) const {
    return first + granules < u.seen.end ? Step(u, panel, first + granules) : Step(u, panel + 1, u.seen.begin);
  }
};

template <class Tiles>
GRAFT_TILES_INLINE void compute_scores(Tiles& tiles, const Unit& u, const Step& step, int64_t granule, float* scores) {
  const uint16_t* keys = u.packed.keys.of(u.key_head, u.sequence.first_granule + step.first + granule);
  multiply_granule(tiles, keys, u.work.queries + step.panel * u.head.block(), u.head, scores + granule * kGranule * kQueryBlock);
}

GRAFT_TILES void write_result(const Unit& u, const Statistics& s, int64_t panel) {
  uint16_t* to = u.out.data + panel * u.head.width;
  for (int64_t half = 0; half < 2; ++half) {
    const __m512 factor = _mm512_div_ps(_mm512_set1_ps(1.0f), s.sum[half]);
    for (int64_t column = 0; column < u.head.columns; column += 2) {
      const float* tile = u.work.out + (2 * column + half) * kTileFloats;
      write_transposed(tile, tile + 2 * kTileFloats, factor, to + column * kTileRows, u.out.stride, u.head.width - column * kTileRows,
                       u.count, [half](int64_t lane) { return half * kTileRows + lane; });
    }
    if (u.log_sums.data == nullptr) continue;
    alignas(64) float sums[16];
    _mm512_store_ps(sums, _mm512_fmadd_ps(s.top[half], _mm512_set1_ps(u.scale), logarithm(s.sum[half])));
    for (int64_t i = 0; i < 16 && half * 16 + i < u.count; ++i) u.log_sums.data[panel + (half * 16 + i) * u.log_sums.stride] = sums[i];
  }
}

template <class Tiles>
GRAFT_TILES void run_steps(Tiles& tiles, const Unit& u, const Visibility& visibility) {
  const float scale2 = u.scale * kLog2E;
  const __m512 lowest = _mm512_set1_ps(-1e30f), zero = _mm512_setzero_ps();
  Statistics s{};
  Step step(u, 0, u.seen.begin);
  float *scores = u.work.scores[0], *next_scores = u.work.scores[1];
  before_tile_loads();
  for (int64_t g = 0; g < step.granules; ++g) compute_scores(tiles, u, step, g, scores);
  while (step.panel < u.panels) {
    const bool first = step.first == u.seen.begin;
    if (first) s = {{lowest, lowest}, {zero, zero}};
    for (int64_t g = 0; g < step.granules; ++g) {
      const int64_t key = (step.first + g) * kGranule;
      if (!visibility.whole(key)) hide(visibility, key, scores + g * kGranule * kQueryBlock);
    }
    __m512 shrink[2];
    const bool raised = raise_top(scores, step.granules * kGranule, scale2, s, shrink);
    const Step next = step.next(u);
    const int64_t ahead = next.panel < u.panels ? next.granules : 0;
    for (int64_t g = 0; g < step.granules || g < ahead; ++g) {
      if (g < ahead) compute_scores(tiles, u, next, g, next_scores);
      if (g < step.granules) exponentials(scores + g * kGranule * kQueryBlock, scale2, s, u.work.probabilities + g * 2 * kTile);
    }
    if (raised && !first) shrink_out(shrink, u.head, u.work.out);
    const uint16_t* values = u.packed.values.of(u.key_head, u.sequence.first_granule + step.first);
    add_over_keys(tiles, values, u.work.probabilities, step.granules, u.head, first, u.work.out);
    if (next.panel != step.panel) write_result(u, s, step.panel);
    step = next;
    float* swapped = scores;
    scores = next_scores;
    next_scores = swapped;
  }
}

template <class Tiles>
GRAFT_TILES void run_unit(Tiles& tiles, const AttentionProblem& problem, const AttentionSequence& sequence, const ForwardUnit& unit,
                          const PackedKeys& packed, const ForwardWork& work, HeadRows<uint16_t> out, float* log_sum_exp) {
  const int64_t group = problem.heads / problem.key_heads, width = problem.width, block = unit.first_query / kQueryBlock;
  const int64_t rest = sequence.queries - unit.first_query, token = sequence.first_query + unit.first_query;
  const int64_t first_head = unit.key_head * group, column = first_head * width;
  Unit u{sequence, packed, work, HeadTiles(width), problem.scale, unit.key_head, group, rest < kQueryBlock ? rest : kQueryBlock,
         visible_granules(problem, sequence, block, block + 1), {problem.q.data + token * problem.q.stride + column, problem.q.stride},
         {out.data + token * out.stride + column, out.stride}, {nullptr, problem.heads}};
  if (log_sum_exp != nullptr) u.log_sums.data = log_sum_exp + token * problem.heads + first_head;
  const bool single = u.count == 1 && group <= kQueryBlock;
  if (single) {
    u.panels = 1;
    u.count = group;
    u.q.stride = u.out.stride = width;
    u.log_sums.stride = 1;
  }
  for (int64_t p = 0; p < u.panels; ++p)
    copy_columns({u.q.data + p * width, u.q.stride, u.count, width}, u.head, work.queries + p * u.head.block());
  run_steps(tiles, u, Visibility(problem, sequence, unit.first_query, single ? 0 : 1));
}

template <class Tiles>
GRAFT_TILES void forward(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp) {
  const HeadTiles head(problem.width);
  const int64_t group = problem.heads / problem.key_heads;
  const auto sequences = sequences_of(problem);
  const auto granules = granules_of(sequences);
  const auto units = forward_units(problem, sequences);
  const auto granule_count = static_cast<int64_t>(granules.size()), unit_count = static_cast<int64_t>(units.size());
  const int64_t packed_values = problem.key_heads * granule_count * head.block();

  static thread_local AlignedBuffer<uint8_t> memory;
  uint8_t* scratch = memory.reserve(static_cast<size_t>(4 * packed_values + omp_get_max_threads() * ForwardWork::bytes(head, group)));
  auto* first = reinterpret_cast<uint16_t*>(scratch);
  const PackedKeys packed{{first, granule_count, head.block()}, {first + packed_values, granule_count, head.block()}};
  uint8_t* work_memory = scratch + 4 * packed_values;

#pragma omp parallel
  {
    Tiles tiles;
    const ForwardWork work(work_memory + omp_get_thread_num() * ForwardWork::bytes(head, group), head, group);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < problem.key_heads * granule_count; ++i) {
      const auto& granule = granules[static_cast<size_t>(i % granule_count)];
      pack_granule(problem, sequences[static_cast<size_t>(granule.sequence)], granule, i / granule_count, packed);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t u = 0; u < unit_count; ++u) {
      const auto& unit = units[static_cast<size_t>(u)];
      run_unit(tiles, problem, sequences[static_cast<size_t>(unit.sequence)], unit, packed, work, out, log_sum_exp);
    }
  }
}

}  // namespace
}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
