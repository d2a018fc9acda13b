#pragma once

// Private to this folder: what is done to scores, a query a lane.

#include <cstdint>

#include "kernels/attention/schedule.h"
#include "kernels/tiles/exponential.h"

#if GRAFT_HAS_TILES

namespace graft::kernels::detail::inline GRAFT_TILE_SPACE {

/// Which keys 32 queries see: those from first_seen to last_seen, both within the sequence.
struct Visibility {
  alignas(64) int32_t first_seen[kQueryBlock], last_seen[kQueryBlock];
  int64_t first_whole, end_whole;  ///< keys that all of the queries see

  Visibility() = default;
  /// Lane i is query first_query + i * step.
  Visibility(const AttentionProblem& problem, const AttentionSequence& sequence, int64_t first_query, int64_t step = 1) {
    const int64_t first_position = sequence.position() + first_query, window = problem.causal ? problem.window : 0;
    for (int64_t i = 0; i < kQueryBlock; ++i) {
      const int64_t position = first_position + i * step;
      last_seen[i] = static_cast<int32_t>(problem.causal && position < sequence.keys ? position : sequence.keys - 1);
      first_seen[i] = static_cast<int32_t>(window > 0 && position >= window ? position + 1 - window : 0);
    }
    first_whole = first_seen[kQueryBlock - 1];
    end_whole = last_seen[0] + 1;
  }
  bool whole(int64_t first_key) const { return first_key >= first_whole && first_key + kGranule <= end_whole; }
};

/// Scores that a query must not see become so low that nothing is left of them.
GRAFT_TILES inline void hide(const Visibility& visibility, int64_t first_key, float* scores) {
  const __m512 nothing = _mm512_set1_ps(-1e30f);
  const __m512i first[2] = {_mm512_load_si512(visibility.first_seen), _mm512_load_si512(visibility.first_seen + 16)};
  const __m512i last[2] = {_mm512_load_si512(visibility.last_seen), _mm512_load_si512(visibility.last_seen + 16)};
  for (int64_t i = 0; i < kGranule; ++i)
    for (int half = 0; half < 2; ++half, scores += 16) {
      const __m512i key = _mm512_set1_epi32(static_cast<int32_t>(first_key + i));
      const __mmask16 seen = _mm512_mask_cmpge_epi32_mask(_mm512_cmple_epi32_mask(key, last[half]), key, first[half]);
      _mm512_store_ps(scores, _mm512_mask_blend_ps(seen, nothing, _mm512_load_ps(scores)));
    }
}

/// Natural logarithm of positive normal numbers; absolute error below 2e-7 where the result is near 0, else relative.
GRAFT_TILES_INLINE __m512 logarithm(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  __m512 mantissa = _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero), exponent = _mm512_getexp_ps(x);
  const __mmask16 large = _mm512_cmp_ps_mask(mantissa, _mm512_set1_ps(1.41421356f), _CMP_GT_OQ);
  mantissa = _mm512_mask_mul_ps(mantissa, large, mantissa, _mm512_set1_ps(0.5f));
  exponent = _mm512_mask_add_ps(exponent, large, exponent, one);
  // log m = 2 artanh((m - 1) / (m + 1)); the series' next term is below 2 · 0.172^9 / 9.
  const __m512 z = _mm512_div_ps(_mm512_sub_ps(mantissa, one), _mm512_add_ps(mantissa, one)), square = _mm512_mul_ps(z, z);
  __m512 series = _mm512_fmadd_ps(_mm512_set1_ps(2.0f / 7), square, _mm512_set1_ps(2.0f / 5));
  series = _mm512_fmadd_ps(series, square, _mm512_set1_ps(2.0f / 3));
  series = _mm512_fmadd_ps(series, square, _mm512_set1_ps(2.0f));
  return _mm512_fmadd_ps(exponent, _mm512_set1_ps(0.693147181f), _mm512_mul_ps(series, z));
}

}  // namespace graft::kernels::detail::inline GRAFT_TILE_SPACE

#endif
