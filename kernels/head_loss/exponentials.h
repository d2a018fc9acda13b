#pragma once

// Private to the tile variant: from logits to probabilities that are not yet divided by their sum, a hidden row a lane.

#include <cstdint>

#include "kernels/head_loss/layout.h"
#include "kernels/tiles/exponential.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {

GRAFT_TILES_INLINE __m512 probability(__m512 logit, __m512 shift) {
  return exp2_precise(_mm512_fmsub_ps(logit, _mm512_set1_ps(kLog2E), shift));
}

/// Half of a bf16 step above a positive value: cut off after 16 bits, it is rounded. Done by hand since pairs come out in order so, which
/// the conversion instructions need permutations for.
GRAFT_TILES_INLINE __m512i before_cut(__m512 value) { return _mm512_add_epi32(_mm512_castps_si512(value), _mm512_set1_epi32(0x8000)); }
GRAFT_TILES_INLINE __m512i pair_of(__m512 even, __m512 odd) {
  return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(before_cut(even), 16), before_cut(odd));
}
GRAFT_TILES_INLINE __m512 rounded(__m512 value) {
  return _mm512_castsi512_ps(_mm512_and_si512(before_cut(value), _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))));
}

/// 32 rows on their way through the words of a part, rows 0-15 and 16-31.
struct Lanes {
  __m512 shift[2], sum[2], top[2];
  __m512i best[2];
};

/// A granule's logits (32 words, 32 rows) that wait. Two words at a time are taken between the tile products of the next granule, so that
/// the vector units and the matrix unit work at the same time.
struct Waiting {
  const float* logits = nullptr;
  uint16_t* to = nullptr;  ///< right operand of a product over the words: [rows 0-15, 16-31][16 pairs of words][16 rows][2]
  int32_t word = 0;        ///< of the first
  int32_t pairs = 0;       ///< left
};

template <bool kBest>
GRAFT_TILES_INLINE void find_top(__m512 even, __m512 odd, int32_t word, __m512& top, __m512i& best) {
  if constexpr (kBest) {
    best = _mm512_mask_mov_epi32(best, _mm512_cmp_ps_mask(even, top, _CMP_GT_OQ), _mm512_set1_epi32(word));
    top = _mm512_max_ps(even, top);
    best = _mm512_mask_mov_epi32(best, _mm512_cmp_ps_mask(odd, top, _CMP_GT_OQ), _mm512_set1_epi32(word + 1));
    top = _mm512_max_ps(odd, top);
  } else {
    top = _mm512_max_ps(_mm512_max_ps(even, odd), top);
  }
}

template <bool kGradient, bool kBest>
GRAFT_TILES_INLINE void take_pair(Waiting& waiting, Lanes& lanes) {
  for (int half = 0; half < 2; ++half) {
    const __m512 even = _mm512_load_ps(waiting.logits + 16 * half), odd = _mm512_load_ps(waiting.logits + kRowBlock + 16 * half);
    find_top<kBest>(even, odd, waiting.word, lanes.top[half], lanes.best[half]);
    const __m512 p = probability(even, lanes.shift[half]), q = probability(odd, lanes.shift[half]);
    lanes.sum[half] = _mm512_add_ps(lanes.sum[half], _mm512_add_ps(p, q));
    if constexpr (kGradient) _mm512_store_si512(waiting.to + half * kWordTile, pair_of(p, q));
  }
  waiting.logits += 2 * kRowBlock;
  waiting.to += 32;
  waiting.word += 2;
  waiting.pairs -= 1;
}

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
