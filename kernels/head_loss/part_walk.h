#pragma once

// Private to the tile variants: 32 hidden rows against the words of one part. Logits stand words x rows and the gradient columns x rows, so
// that maximum, sum and scaling are per lane and words serve as left operands.

#include <bit>
#include <cstdint>

#include "kernels/head_loss/exponentials.h"
#include "kernels/head_loss/layout.h"
#include "kernels/tiles/tiles.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {

/// The words of one part in one round.
struct PartWords {
  const uint16_t *straight, *transposed;  ///< from pack_words()
  int64_t first, count, granules;
  int64_t steps;  ///< of 32 columns
  bool opening;   ///< no words of this part came before
};

/// What a thread writes again and again.
struct BlockWork {
  alignas(64) float logits[2][kGranule * kRowBlock];
  alignas(64) uint16_t probabilities[kMostWords * kRowBlock];
};

/// Which of 32 rows have their target among the words of this part, and where.
struct TargetsHere {
  uint32_t rows = 0;
  int32_t word[kRowBlock];  ///< counted from the part's first

  TargetsHere(const int64_t* targets, int64_t count, const PartWords& words) {
    for (int64_t row = 0; row < count; ++row) {
      const int64_t place = targets[row] - words.first;
      word[row] = static_cast<int32_t>(place);
      rows |= static_cast<uint32_t>(place >= 0 && place < words.count) << row;
    }
  }
  void read_logits(int64_t granule, const float* logits, float* target_logit) const {
    for (uint32_t rest = rows; rest != 0; rest &= rest - 1) {
      const int row = std::countr_zero(rest);
      if (word[row] / kGranule == granule) target_logit[row] = logits[word[row] % kGranule * kRowBlock + row];
    }
  }
};

/// Lines of memory that are wanted soon, fetched a few at a time between the steps of products, which leave most of the memory's time free. The
/// processor does not foresee them: too few lines follow each other.
template <_mm_hint kWhereTo>
struct Ahead {
  const uint8_t* at;
  int64_t lines;    ///< left
  int64_t at_once;

  Ahead(const void* from, int64_t bytes, int64_t times)
      : at(static_cast<const uint8_t*>(from)), lines(from != nullptr ? bytes / 64 : 0), at_once((bytes / 64 + times - 1) / times) {}
  GRAFT_TILES_INLINE void fetch() {
    for (int64_t i = 0; i < at_once && lines > 0; ++i, --lines, at += 64) _mm_prefetch(at, kWhereTo);
  }
};

/// Logits (32 words x 32 rows) <- words · hiddenᵀ; meanwhile the waiting ones are taken.
template <bool kGradient, bool kBest, class Tiles>
GRAFT_TILES_INLINE void multiply_granule(Tiles& tiles, const uint16_t* words, const uint16_t* hidden, int64_t steps, float* logits,
                                         Waiting& waiting, Ahead<_MM_HINT_T1>& ahead, Lanes& lanes) {
  constexpr int64_t kRowBytes = kRowBlock * static_cast<int64_t>(sizeof(float)), kStep = 2 * kWordTile;
  tiles.begin({logits, logits + 16 * kRowBlock, 16, kRowBytes}, /*fresh=*/true);
  tiles.template add<Passing::kLeft>({words, words + kWordTile, kStep}, {hidden, hidden + kWordTile, kStep}, steps, [&]() GRAFT_TILES_LAMBDA {
    if (waiting.pairs > 0) take_pair<kGradient, kBest>(waiting, lanes);
    ahead.fetch();
  });
  while (waiting.pairs > 0) take_pair<kGradient, kBest>(waiting, lanes);
  tiles.finish();
}

/// Words that only fill up the last granule get no probability.
GRAFT_TILES_INLINE void hide_missing(int64_t words, float* logits) {
  const __m512 nothing = _mm512_set1_ps(-__builtin_inff());
  for (int64_t i = words * kRowBlock; i < kGranule * kRowBlock; i += 16) _mm512_store_ps(logits + i, nothing);
}

/// All words of the part: lanes' sums, tops and best words; the targets' logits; for a gradient the probabilities.
template <bool kGradient, bool kBest, class Tiles>
GRAFT_TILES_INLINE void take_words(Tiles& tiles, const PartWords& words, const uint16_t* hidden, bool last, const TargetsHere& targets,
                                   float* target_logit, Lanes& lanes, BlockWork& work) {
  Waiting waiting;
  const int64_t hidden_values = words.steps * 2 * kWordTile;
  Ahead<_MM_HINT_T1> ahead(last ? nullptr : hidden + hidden_values, 2 * hidden_values, words.granules * words.steps);
  for (int64_t g = 0; g < words.granules; ++g) {
    float* logits = work.logits[g % 2];
    const uint16_t* granule = words.straight + g * words.steps * 2 * kWordTile;
    multiply_granule<kGradient, kBest>(tiles, granule, hidden, words.steps, logits, waiting, ahead, lanes);
    if ((g + 1) * kGranule > words.count) hide_missing(words.count - g * kGranule, logits);
    targets.read_logits(g, logits, target_logit);
    waiting = {logits, work.probabilities + g * 2 * kWordTile, static_cast<int32_t>(words.first + g * kGranule), kGranule / 2};
  }
  while (waiting.pairs > 0) take_pair<kGradient, kBest>(waiting, lanes);
}

/// sums (columns x 32 rows) += Wᵀ · probabilities. Tiles: [32 columns][columns 0-15, 16-31][rows 0-15, 16-31].
template <class Tiles>
GRAFT_TILES_INLINE void add_gradient(Tiles& tiles, const PartWords& words, const uint16_t* probabilities, float* sums) {
  constexpr int64_t kStep = 2 * kWordTile;
  before_tile_loads();
  const uint16_t* left = words.transposed;
  for (int64_t step = 0; step < words.steps; ++step, sums += 4 * kSumTile, left += words.granules * kStep) {
    tiles.begin({sums, sums + 2 * kSumTile, kSumTile}, words.opening);
    Ahead<_MM_HINT_T0> ahead(words.opening || step + 1 == words.steps ? nullptr : sums + 4 * kSumTile, 16 * kSumTile, words.granules);
    tiles.template add<Passing::kLeft>({left, left + kWordTile, kStep}, {probabilities, probabilities + kWordTile, kStep}, words.granules,
                                       [&]() GRAFT_TILES_LAMBDA { ahead.fetch(); });
    tiles.finish();
  }
}

/// Shifts that have come too far from the largest logit are set to it, and what was summed with them is scaled. Returns whether there were
/// any: then this part's words have to be taken again. Between the limits floating point loses nothing.
GRAFT_TILES inline bool move_shift(const Lanes& lanes, const PartWords& words, PartState& state, float* sums) {
  const __m512 highest = _mm512_set1_ps(60.0f), lowest = _mm512_set1_ps(-40.0f);
  __m512 shrink[2];
  uint32_t moved = 0;
  for (int half = 0; half < 2; ++half) {
    const __m512 shift = lanes.shift[half], top = _mm512_mul_ps(lanes.top[half], _mm512_set1_ps(kLog2E));
    const __m512 above = _mm512_sub_ps(top, shift);
    __mmask16 far = _mm512_cmp_ps_mask(above, highest, _CMP_GT_OQ);
    if (words.opening) far = static_cast<__mmask16>(far | _mm512_cmp_ps_mask(above, lowest, _CMP_LT_OQ));
    shrink[half] = _mm512_mask_blend_ps(far, _mm512_set1_ps(1.0f), exp2_precise(_mm512_sub_ps(shift, top)));
    _mm512_mask_store_ps(state.shift + 16 * half, far, top);
    moved |= far;
  }
  if (moved == 0) return false;
  if (words.opening) return true;
  for (int half = 0; half < 2; ++half) {
    _mm512_store_ps(state.sum + 16 * half, _mm512_mul_ps(_mm512_load_ps(state.sum + 16 * half), shrink[half]));
    _mm512_store_ps(state.error + 16 * half, _mm512_mul_ps(_mm512_load_ps(state.error + 16 * half), shrink[half]));
  }
  for (int64_t i = 0; sums != nullptr && i < words.steps * 4 * kSumTile; i += 16) {
    _mm512_store_ps(sums + i, _mm512_mul_ps(_mm512_load_ps(sums + i), shrink[i / kSumTile % 2]));
  }
  before_tile_loads();
  return true;
}

GRAFT_TILES inline void read_lanes(const PartState& state, Lanes& lanes) {
  for (int half = 0; half < 2; ++half) {
    lanes.shift[half] = _mm512_load_ps(state.shift + 16 * half);
    lanes.top[half] = _mm512_load_ps(state.top + 16 * half);
    lanes.best[half] = _mm512_load_si512(state.best + 16 * half);
    lanes.sum[half] = _mm512_setzero_ps();
  }
}

GRAFT_TILES inline void write_lanes(const Lanes& lanes, const TargetsHere& targets, PartState& state) {
  for (int half = 0; half < 2; ++half) {
    _mm512_store_ps(state.sum + 16 * half, _mm512_add_ps(_mm512_load_ps(state.sum + 16 * half), lanes.sum[half]));
    _mm512_store_ps(state.top + 16 * half, lanes.top[half]);
    _mm512_store_si512(state.best + 16 * half, lanes.best[half]);
    const auto here = static_cast<__mmask16>(targets.rows >> (16 * half));
    const __m512 p = probability(_mm512_load_ps(state.target + 16 * half), lanes.shift[half]);
    _mm512_mask_store_ps(state.error + 16 * half, here, _mm512_sub_ps(p, rounded(p)));
  }
}

/// One block of rows; another follows it in memory if it is not the `last`. `sums` null: no gradient.
template <bool kGradient, bool kBest, class Tiles>
GRAFT_TILES void run_block(Tiles& tiles, const PartWords& words, const uint16_t* hidden, bool last, const TargetsHere& targets, PartState& state,
                           float* sums, BlockWork& work) {
  Lanes lanes;
  read_lanes(state, lanes);
  take_words<kGradient, kBest>(tiles, words, hidden, last, targets, state.target, lanes, work);
  if (move_shift(lanes, words, state, sums)) {
    read_lanes(state, lanes);
    take_words<kGradient, kBest>(tiles, words, hidden, last, targets, state.target, lanes, work);
  }
  write_lanes(lanes, targets, state);
  if constexpr (kGradient) add_gradient(tiles, words, work.probabilities, sums);
}

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
