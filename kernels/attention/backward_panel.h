#pragma once

// Private to this folder: a panel of the backward pass, 32 queries of one head, and the products it takes part in.

#include <cstdint>

#include "kernels/attention/schedule.h"
#include "kernels/attention/score_lanes.h"
#include "kernels/attention/tile_products.h"
#include "kernels/attention/tile_rows.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {

/// So many panels, if the group of heads allows, are worked on together: their products add to the sums for the keys in one go, and
/// loading and storing those sums takes longer than the products.
constexpr int64_t kPanels = 8;

constexpr int64_t blocks_of_pass(int64_t group) { return group < kPanels ? kPanels / group : 1; }

/// A panel: 32 queries of one head.
struct QueryWork {
  uint16_t *queries, *gradients;                ///< right operands of products over the width, from copy_columns
  uint16_t *paired_queries, *paired_gradients;  ///< right operands of products over the queries, from copy_paired
  float* dq;                                    ///< transposed: tiles [column tile][0, 1], see query_of_lane()
  float *shift, *delta;                         ///< 32 each: log_sum_exp in powers of two; Σ dO ⊙ O
};

/// What one thread keeps of one unit.
struct BackwardWork {
  uint8_t* queries;            ///< a QueryWork for each panel: [block of the pass][head of the group]
  float *scores, *dp;          ///< a granule x 32 queries, fp32
  uint16_t *p, *ds;            ///< left operands of products over the queries: [panel][row tile of the key block]
  uint16_t* paired_ds;         ///< right operands of a product over the keys: [granule of the block][0, 1]

  static int64_t query_bytes(const HeadTiles& head) { return 8 * head.block() + 4 * 32 * head.columns * kTileRows + 2 * 4 * kQueryBlock; }
  static int64_t bytes(const HeadTiles& head, int64_t panels) {
    return panels * (query_bytes(head) + 4 * kKeyBlock * kQueryBlock) + 2 * 4 * kGranule * kQueryBlock + 2 * kKeyBlock * kQueryBlock;
  }
  BackwardWork(uint8_t* at, const HeadTiles& head, int64_t panels)
      : queries(at), scores(reinterpret_cast<float*>(at + panels * query_bytes(head))), dp(scores + kGranule * kQueryBlock),
        p(reinterpret_cast<uint16_t*>(dp + kGranule * kQueryBlock)), ds(p + panels * kKeyBlock * kQueryBlock),
        paired_ds(ds + panels * kKeyBlock * kQueryBlock) {}

  QueryWork of(int64_t panel, const HeadTiles& head) const {
    auto* first = reinterpret_cast<uint16_t*>(queries + panel * query_bytes(head));
    auto* dq = reinterpret_cast<float*>(first + 4 * head.block());
    float* shift = dq + 32 * head.columns * kTileRows;
    return {first, first + head.block(), first + 2 * head.block(), first + 3 * head.block(), dq, shift, shift + kQueryBlock};
  }
};

/// Pairs of rows are interleaved within quarters of a register, so lane i of half h belongs to this query.
constexpr int64_t query_of_lane(int64_t half, int64_t lane) { return 8 * (lane / 4) + 4 * half + lane % 4; }

GRAFT_TILES inline float row_dot(const uint16_t* a, const uint16_t* b, int64_t width) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < width; i += 16) {
    const __m256i left = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + i));
    const __m256i right = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + i));
    sum = _mm512_fmadd_ps(widen_bfloat16(left), widen_bfloat16(right), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

struct QueryBlock {
  int64_t token, count, head;  ///< first query within the stream; queries; query head
};

GRAFT_TILES inline void load_queries(const AttentionProblem& problem, const AttentionGradients& gradients, const QueryBlock& block,
                                     const QueryWork& work) {
  const HeadTiles head(problem.width);
  const int64_t column = block.head * problem.width;
  const auto rows_of = [&](HeadRows<const uint16_t> m) {
    return RowBlock{m.data + block.token * m.stride + column, m.stride, block.count, problem.width};
  };
  const RowBlock q = rows_of(problem.q), g = rows_of(gradients.out_gradient), out = rows_of(gradients.out);
  copy_columns(q, head, work.queries);
  copy_paired(q, head, work.paired_queries);
  copy_columns(g, head, work.gradients);
  copy_paired(g, head, work.paired_gradients);
  for (int64_t i = 0; i < kQueryBlock; ++i) {
    const bool real = i < block.count;  // the others have rows of zeros and add nothing, whatever is finite here
    work.shift[i] = real ? kLog2E * gradients.log_sum_exp[(block.token + i) * problem.heads + block.head] : 0.0f;
    work.delta[i] = real ? row_dot(g.data + i * g.stride, out.data + i * out.stride, problem.width) : 0.0f;
  }
}

/// One granule's probabilities and gradients of the (scaled) scores, from 32 x 32 scores and gradients of the probabilities.
GRAFT_TILES_INLINE void score_gradients(const BackwardWork& work, const QueryWork& query, float scale2, uint16_t* p, uint16_t* ds,
                                        uint16_t* paired_ds) {
  const __m512 factor = _mm512_set1_ps(scale2);
  const __m512 shift0 = _mm512_load_ps(query.shift), shift1 = _mm512_load_ps(query.shift + 16);
  const __m512 delta0 = _mm512_load_ps(query.delta), delta1 = _mm512_load_ps(query.delta + 16);
  const float *scores = work.scores, *dp = work.dp;
  const auto row = [&](int64_t at) GRAFT_TILES {
    const __m512 p0 = exp2_rough(_mm512_fmsub_ps(_mm512_load_ps(scores), factor, shift0));
    const __m512 p1 = exp2_rough(_mm512_fmsub_ps(_mm512_load_ps(scores + 16), factor, shift1));
    const __m512 ds0 = _mm512_mul_ps(p0, _mm512_sub_ps(_mm512_load_ps(dp), delta0));
    const __m512 ds1 = _mm512_mul_ps(p1, _mm512_sub_ps(_mm512_load_ps(dp + 16), delta1));
    const __m512i rounded = round_to_bfloat16(ds0, ds1);
    _mm512_store_si512(p + at * kTileDepth, round_to_bfloat16(p0, p1));
    _mm512_store_si512(ds + at * kTileDepth, rounded);
    scores += kQueryBlock;
    dp += kQueryBlock;
    return rounded;
  };
  for (int64_t pair = 0; pair < kGranule / 2; ++pair, paired_ds += kTileDepth) {
    const __m512i even = row(2 * pair), odd = row(2 * pair + 1);
    _mm512_store_si512(paired_ds, _mm512_unpacklo_epi16(even, odd));
    _mm512_store_si512(paired_ds + kTile, _mm512_unpackhi_epi16(even, odd));
  }
}

/// sums (32 keys x width: tiles [column pair][row tile][2]) += left · right, the panels one after the other.
template <class Tiles>
GRAFT_TILES_INLINE void add_to_keys(Tiles& tiles, const uint16_t* left, const uint16_t* right, int64_t right_step, int64_t panels,
                                    const HeadTiles& head, bool first, float* sums) {
  for (int64_t column = 0; column < head.columns; column += 2, sums += 4 * kTileFloats) {
    const uint16_t* columns = right + column * kTile;
    add_product(tiles, {left, left + kTile, kKeyBlock * kQueryBlock}, {columns, columns + kTile, right_step}, panels, first, sums,
                sums + 2 * kTileFloats);
  }
}

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
